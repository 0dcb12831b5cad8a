# What the environments share, and what must outlive them: state, data, images, workspaces, and who may do what.
# An administrator applies this, once, and again after a change of this folder. See ../README.md.

data "azurerm_client_config" "current" {}

locals {
  machines = yamldecode(file("${path.module}/../machines.yaml"))
  rooms    = module.project.environments
  shared   = distinct(values(module.project.groups)) # one environment alone lives with what trains
  # By its resource group, each room once.
  workspaces = { for name, group in module.project.groups : name => group if name == "SHARED" || group != module.project.groups.SHARED }
  # In whose workspace an environment's things are.
  workspace_of = { for name, room in local.rooms : name => room == "" ? "SHARED" : name }
}

resource "azurerm_resource_group" "this" {
  for_each = toset(local.shared)

  name     = each.key
  location = module.project.region
  tags     = module.project.tags
}

module "data" {
  source = "../modules/storage"

  name            = module.project.storage
  group           = azurerm_resource_group.this[module.project.groups.SHARED].name
  region          = module.project.region
  private_network = module.project.private_network
  containers      = ["project", "state"]
  expire_days     = { "project/captures/" = var.capture_days, "project/predictions/" = var.capture_days }
}

resource "azurerm_management_lock" "data" {
  count = var.guard_data ? 1 : 0

  name       = "data"
  scope      = module.data.id
  lock_level = "CanNotDelete"
  notes      = "The project's data and Terraform's state."
}

# Whoever applies this writes the state: without keys, being an owner of the account is not enough for that.
resource "azurerm_role_assignment" "state" {
  scope                = module.data.container_ids["state"]
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = data.azurerm_client_config.current.object_id
}

module "images" {
  source = "../modules/images"

  name            = module.project.registry
  group           = azurerm_resource_group.this[module.project.groups.SHARED].name
  region          = module.project.region
  private_network = module.project.private_network
}

resource "azurerm_log_analytics_workspace" "this" {
  name                         = "log-${module.project.project}"
  resource_group_name          = azurerm_resource_group.this[module.project.groups.SHARED].name
  location                     = module.project.region
  sku                          = "PerGB2018"
  retention_in_days            = var.log_days
  daily_quota_gb               = 1 # a service that cries all day costs no more than this
  local_authentication_enabled = false
  tags                         = module.project.tags
}

resource "azurerm_application_insights" "this" {
  name                         = "appi-${module.project.project}"
  resource_group_name          = azurerm_resource_group.this[module.project.groups.SHARED].name
  location                     = module.project.region
  application_type             = "web"
  workspace_id                 = azurerm_log_analytics_workspace.this.id
  local_authentication_enabled = false
  tags                         = module.project.tags
}

module "workspace" {
  source   = "../modules/workspace"
  for_each = local.workspaces

  name            = module.project.workspaces[each.key]
  group           = azurerm_resource_group.this[each.value].name
  region          = module.project.region
  tenant          = module.project.tenant
  vault           = module.project.vaults[each.key]
  storage         = module.project.workspace_storage[each.key]
  identity        = "${module.project.identities[each.key]}-workspace"
  registry_id     = module.images.id
  data_account_id = module.data.id
  container_id    = module.data.container_ids["project"]
  insights_id     = azurerm_application_insights.this.id
  logs_id         = azurerm_log_analytics_workspace.this.id
  private_network = module.project.private_network

  clusters = merge(
    each.key == "SHARED" ? {
      train = { machine = local.machines.training.machine, most = try(local.machines.training.most, 1), identity_id = module.training.id }
    } : {},
    module.project.batch && local.workspace_of[module.project.last_environment] == each.key ? {
      score = { machine = local.machines.scoring.machine, most = try(local.machines.scoring.most, 1), identity_id = module.serving[module.project.last_environment].id }
    } : {},
  )
}

module "cost" {
  source = "../modules/cost"

  name          = module.project.project
  groups        = { for name, group in azurerm_resource_group.this : name => group.id }
  monthly_limit = var.monthly_budget
  start         = var.budget_start
  contact       = module.project.contact
}
