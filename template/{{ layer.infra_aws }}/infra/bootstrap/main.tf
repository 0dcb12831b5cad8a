# What the environments share, and what must outlive them: state, data, images, models, and who may do what.
# An administrator applies this, once, and again after a change of this folder. See ../README.md.

module "state" {
  source = "../modules/data"

  name    = module.project.buckets.state
  key_arn = aws_kms_key.this.arn
}

locals {
  # An artifact's folder is called by its identity, a SHA-256. So models/runs/, where trainings leave files, is none.
  artifacts = [for digit in split("", "0123456789abcdef") : "models/${digit}*"]
}

module "data" {
  source = "../modules/data"

  name        = module.project.buckets.data
  key_arn     = aws_kms_key.this.arn
  expire_days = { "captures/" = var.capture_days, "predictions/" = var.capture_days }
  write_once  = concat(local.artifacts, ["records/*"])
}

module "images" {
  source = "../modules/images"

  name    = module.project.image_repository
  key_arn = aws_kms_key.this.arn
}

module "network" {
  source = "../modules/network"
  count  = module.project.private_network ? 1 : 0

  name    = "${module.project.prefix}network"
  region  = module.project.region
  account = module.project.account
  cidr    = var.network_cidr
  key_arn = aws_kms_key.this.arn

  depends_on = [aws_kms_key_policy.this]
}

module "machine_learning" {
  source = "../modules/machine_learning"

  project              = module.project
  bucket_arn           = module.data.arn
  key_arn              = aws_kms_key.this.arn
  image_repository_arn = module.images.arn
  tracking_server_size = var.tracking_server_size
  network              = one(module.network)
}

module "identities" {
  source = "../modules/identities"

  project              = module.project
  issuer               = local.issuer
  create_issuer        = var.create_issuer
  trust                = local.trust
  buckets              = { state = module.state.arn, data = module.data.arn }
  artifacts            = local.artifacts
  key_arn              = aws_kms_key.this.arn
  image_repository_arn = module.images.arn
  tracking_actions     = module.machine_learning.tracking_actions
  changes_read_data    = var.changes_read_data
}

module "cost" {
  source = "../modules/cost"

  name          = module.project.name
  project       = module.project.name
  monthly_limit = var.monthly_budget
  contact       = module.project.contact
}

# What the environments and the flows need to know; nothing of it is secret.
locals {
  settings = {
    account             = module.project.account
    region              = module.project.region
    bucket              = module.data.name
    key_arn             = aws_kms_key.this.arn
    image_repository    = module.images.url
    model_package_group = module.machine_learning.model_package_group
    tracking_uri        = module.machine_learning.tracking_uri
    training_role_arn   = module.machine_learning.training_role_arn
    training_pipeline   = "${module.project.prefix}train"
    serving_role_arns   = module.machine_learning.serving_role_arns
    schedule_role_arns  = module.machine_learning.schedule_role_arns
    flow_role_arns      = module.identities.role_arns
    environments        = module.project.environments
    subnet_ids          = one(module.network[*].subnet_ids)
    security_group_id   = one(module.network[*].security_group_id)
  }
}

resource "aws_ssm_parameter" "settings" {
  #checkov:skip=CKV2_AWS_34: names and ARNs, which the flows print anyway; no secret
  name        = module.project.settings_parameter
  description = "What the environments and the flows of ${module.project.name} need to know"
  type        = "String"
  tier        = "Intelligent-Tiering" # with five environments it exceeds the 4 KB of the free tier
  value       = jsonencode(local.settings)
}
