# Every name, in one place.

locals {
  name = replace(var.name, "_", "-")

  # A namespace ends with a letter or a digit, and two are taken. A name that would spoil this gets a digest.
  environments = {
    for name in var.environments : name =>
    endswith(name, "-") || contains(["state", "flows"], name) ? "${local.name}-${trim(name, "-")}-${substr(sha1(name), 0, 5)}" : "${local.name}-${name}"
  }

  # What the audiences of tokens end with, where a code host says by the audience what a job is for.
  short  = length(local.name) <= 24 ? local.name : "${substr(local.name, 0, 18)}-${substr(sha1(local.name), 0, 5)}"
  prefix = "${local.short}--"
  plain = {
    for name in var.environments : name => strcontains(name, "--") || endswith(name, "-") ? (
      "${trim(substr(replace(name, "/-+/", "-"), 0, 14), "-")}-${substr(sha1(name), 0, 5)}"
    ) : name
  }
}

output "name" {
  description = "The project's name, with hyphens: its own namespace, its service."
  value       = local.name
}

output "state_namespace" {
  description = "The namespace of Terraform's state, which holds nothing else."
  value       = "${local.name}-state"
}

output "flows_namespace" {
  description = "The namespace of the flows' accounts. It holds nothing else, and nobody may make a pod or a secret there: who may, could take any of them."
  value       = "${local.name}-flows"
}

output "environments" {
  description = "The environments, each with its namespace."
  value       = local.environments
}

output "last_environment" {
  description = "The environment that serves users."
  value       = var.environments[length(var.environments) - 1]
}

output "cluster" {
  description = "The address of the cluster's API server."
  value       = var.cluster
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

output "kserve" {
  description = "Whether KServe keeps the service's pods."
  value       = var.kserve
}

output "deployment" {
  description = "The Deployment whose pods answer."
  value       = var.kserve ? "${local.name}-predictor" : local.name
}

output "roles" {
  description = "What the flows' roles are called."
  value = merge(
    { plan = "${local.prefix}ci-plan", train = "${local.prefix}ci-train" },
    merge([
      for name, plain in local.plain :
      { for purpose in ["apply", "deploy"] : "${purpose}/${name}" => "${local.prefix}${plain}--${purpose}" }
    ]...),
  )
}

output "labels" {
  description = "The labels of everything."
  value = {
    "app.kubernetes.io/part-of"    = local.name
    "app.kubernetes.io/managed-by" = "terraform"
    "twoloops/owner"               = var.owner
  }
}
