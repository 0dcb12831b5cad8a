# One environment. Which one, the workspace says: TF_WORKSPACE=production terraform apply. See ../README.md.

locals {
  # A workspace that is no environment stops at the preconditions below, and gets there by these.
  room   = lookup(module.project.environments, terraform.workspace, "")
  wanted = lookup(var.environments, terraform.workspace, values(var.environments)[0])
  group  = lookup(module.project.groups, terraform.workspace, module.project.groups.SHARED)
}

# What bootstrap/ has made.
data "azurerm_log_analytics_workspace" "this" {
  name                = "log-${module.project.project}"
  resource_group_name = module.project.groups.SHARED

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

  name                 = "${module.project.project}${local.room}"
  group                = local.group
  region               = module.project.region
  contact              = module.project.contact
  logs_id              = data.azurerm_log_analytics_workspace.this.id
  endpoint             = lookup(module.project.endpoints, terraform.workspace, "")
  online               = module.project.online
  batch                = module.project.batch && terraform.workspace == module.project.last_environment
  latency_milliseconds = local.wanted.latency_milliseconds
  error_percent        = local.wanted.error_percent
}
