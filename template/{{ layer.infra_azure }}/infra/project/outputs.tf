# Every name, in one place; twoloops/platforms/azure/account.py makes the same ones. A test compares them.

locals {
  name = replace(var.name, "_", "-")

  # An endpoint's name has at most 32 characters, a workspace's 33: so much is left for the project and an environment.
  # What has to be changed for that ends with a digest of the whole.
  longest = { project = 14, environment = 10 }
  texts   = concat([{ kind = "project", text = var.name }], [for name in var.environments : { kind = "environment", text = name }])
  shorts = { for each in local.texts : "${each.kind}/${each.text}" => {
    text    = each.text
    hyphens = replace(each.text, "_", "-")
    plain   = trim(replace(replace(each.text, "_", "-"), "/-+/", "-"), "-")
    longest = local.longest[each.kind]
  } }
  short = {
    for name, each in local.shorts : name => each.plain == each.hyphens && length(each.plain) <= each.longest ? each.plain : join("-", [
      trimsuffix(substr(each.plain, 0, each.longest - 6), "-"), substr(sha256(each.text), 0, 5),
    ])
  }
  project = local.short["project/${var.name}"]
  suffix  = substr(sha256("${var.subscription}/${var.name}"), 0, 6)

  # One environment alone lives with what trains; several have rooms of their own.
  rooms = { for name in var.environments : name => length(var.environments) > 1 ? "-${local.short["environment/${name}"]}" : "" }

  # No environment is called so: their names are in lower case.
  groups = merge({ SHARED = "rg-${local.project}" }, { for name, room in local.rooms : name => "rg-${local.project}${room}" })
}

output "name" {
  description = "The project's name, with hyphens."
  value       = local.name
}

output "project" {
  description = "The project's name as it stands in others, where a length limit applies."
  value       = local.project
}

output "subscription" {
  description = "The subscription."
  value       = var.subscription
}

output "tenant" {
  description = "The tenant."
  value       = var.tenant
}

output "region" {
  description = "The Azure region."
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

output "environments" {
  description = "The environments, each with the end of its names: empty where there is one alone."
  value       = local.rooms
}

output "last_environment" {
  description = "The environment that serves users."
  value       = var.environments[length(var.environments) - 1]
}

output "groups" {
  description = "The resource groups: of what all share, and of each environment."
  value       = local.groups
}

output "workspaces" {
  description = "The workspaces: of what trains, and of each environment."
  value       = { for name, group in local.groups : name => replace(group, "/^rg-/", "mlw-") }
}

output "endpoints" {
  description = "The endpoints, which deployments make: unique in the region."
  value       = { for name in var.environments : name => "${local.project}-${local.short["environment/${name}"]}-${local.suffix}" }
}

output "identities" {
  description = "What the names of identities begin with: of what all share, and of each environment; the role follows."
  value       = { for name, group in local.groups : name => replace(group, "/^rg-/", "id-") }
}

output "storage" {
  description = "The storage account of the project's data; it is unique in the world."
  value       = "st${substr(replace(local.project, "-", ""), 0, 12)}${local.suffix}"
}

output "workspace_storage" {
  description = "The storage accounts that workspaces want for themselves."
  value = {
    for name, group in local.groups : name => "sw${substr(sha256("${var.subscription}/${group}"), 0, 18)}"
  }
}

output "vaults" {
  description = "The key vaults that workspaces want."
  value = {
    for name, group in local.groups : name => "kv-${substr(sha256("${var.subscription}/${group}"), 0, 18)}"
  }
}

output "registry" {
  description = "The registry of images; it is unique in the world."
  value       = "cr${replace(local.project, "-", "")}${local.suffix}"
}

output "tags" {
  description = "The tags of everything."
  value = {
    Project    = local.project
    Owner      = var.owner
    Repository = var.repository
    ManagedBy  = "terraform"
  }
}
