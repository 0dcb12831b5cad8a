# One environment. Which one, the workspace says: TF_WORKSPACE=production terraform apply. See ../README.md.

locals {
  # A workspace that is no environment stops at the preconditions below, and gets there by these.
  name   = lookup(module.project.environments, terraform.workspace, "unknown")
  wanted = lookup(var.environments, terraform.workspace, values(var.environments)[0])

  settings = jsondecode(data.aws_ssm_parameter.settings.insecure_value)
}

# What bootstrap/ has made.
data "aws_ssm_parameter" "settings" {
  name            = module.project.settings_parameter
  with_decryption = false

  lifecycle {
    precondition {
      condition     = contains(keys(module.project.environments), terraform.workspace)
      error_message = "The workspace ${terraform.workspace} is no environment. Set TF_WORKSPACE to one of: ${join(", ", keys(module.project.environments))}."
    }

    precondition {
      condition     = contains(keys(var.environments), terraform.workspace)
      error_message = "environments.auto.tfvars has no settings for ${terraform.workspace}; an empty block, {}, takes the defaults."
    }
  }
}

module "monitoring" {
  source = "../modules/monitoring"

  name                 = local.name
  region               = module.project.region
  account              = module.project.account
  contact              = module.project.contact
  key_arn              = local.settings.key_arn
  online               = module.project.online
  batch                = module.project.batch
  log_days             = local.wanted.log_days
  latency_milliseconds = local.wanted.latency_milliseconds
  error_percent        = local.wanted.error_percent
}

module "batch" {
  source = "../modules/batch"
  count  = module.project.batch ? 1 : 0

  name         = local.name
  pipeline_arn = "arn:aws:sagemaker:${module.project.region}:${module.project.account}:pipeline/${local.name}--score"
  role_arn     = local.settings.schedule_role_arns[terraform.workspace]
  key_arn      = local.settings.key_arn
  schedule     = local.wanted.schedule
  timezone     = local.wanted.timezone
}
