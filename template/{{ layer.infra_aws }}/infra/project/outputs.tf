# Every name, in one place. A model of them: churn--production--serving.

locals {
  name = replace(var.name, "_", "-")

  # AWS allows a role 64 characters, an endpoint 63. A long name keeps its beginning and gets a digest.
  short = length(local.name) <= 24 ? local.name : "${substr(local.name, 0, 18)}-${substr(sha1(local.name), 0, 5)}"

  # No package's name has two hyphens in a row, so "churn--*" in a policy means this project and
  # never another one of the account that is called churn-something.
  prefix = "${local.short}--"

  # The same between an environment and what belongs to it: "churn--prod--*" is not churn--prod-eu. A name that
  # would spoil this gets a digest.
  environments = {
    for name in var.environments : name => join("", [local.prefix, strcontains(name, "--") || endswith(name, "-") ? (
      "${trim(substr(replace(name, "/-+/", "-"), 0, 14), "-")}-${substr(sha1(name), 0, 5)}"
    ) : name])
  }
}

output "name" {
  description = "The project's name, with hyphens."
  value       = local.name
}

output "prefix" {
  description = "What the names of all of the project's resources begin with, where a length limit applies."
  value       = local.prefix
}

output "environments" {
  description = "The environments, each with the prefix of its names; the endpoint of an environment has this very name."
  value       = local.environments
}

output "last_environment" {
  description = "The environment that serves users."
  value       = var.environments[length(var.environments) - 1]
}

output "account" {
  description = "The AWS account."
  value       = var.account
}

output "region" {
  description = "The AWS region."
  value       = var.region
}

output "contact" {
  description = "Who gets alarms and budget alerts."
  value       = var.contact
}

output "repository" {
  description = "The repository, as the code host writes it."
  value       = var.repository
}

output "online" {
  description = "Whether a service answers requests."
  value       = var.online
}

output "batch" {
  description = "Whether tables are scored on a schedule."
  value       = var.batch
}

output "private_network" {
  description = "Whether jobs and services run in a network of their own."
  value       = var.private_network
}

output "buckets" {
  description = "The buckets: Terraform's state, and the project's data."
  value = {
    state = "${var.account}-${local.name}-state"
    data  = "${var.account}-${local.name}-data"
  }
}

output "image_repository" {
  description = "The repository of the project's image."
  value       = "${local.name}-image"
}

output "model_package_group" {
  description = "The group of registered models."
  value       = local.name
}

output "tracking_server" {
  description = "The MLflow tracking server."
  value       = "${local.name}-mlflow"
}

output "roles" {
  description = "The names of all roles: of the flows (ci), of training, and of what runs in each environment."
  value = {
    training = "${local.prefix}training"
    mlflow   = "${local.prefix}mlflow"
    plan     = "${local.prefix}ci-plan"
    train    = "${local.prefix}ci-train"
    environments = {
      for name, prefix in local.environments : name => {
        apply    = "${prefix}--apply"
        deploy   = "${prefix}--deploy"
        serving  = "${prefix}--serving"
        schedule = "${prefix}--schedule"
      }
    }
  }
}

output "settings_parameter" {
  description = "The parameter in which bootstrap/ leaves what the environments and the flows need to know."
  value       = "/ml/${local.name}/settings" # AWS keeps names that begin with aws or ssm to itself
}

output "tags" {
  description = "The tags of everything."
  value = {
    Project    = local.name
    Owner      = var.owner
    Repository = var.repository
    ManagedBy  = "terraform"
  }
}
