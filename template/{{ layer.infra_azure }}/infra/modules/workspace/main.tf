# A workspace of Azure ML, with what Azure wants beside it, and its clusters of machines: none while nobody works.

resource "azurerm_key_vault" "this" {
  #checkov:skip=CKV_AZURE_189: nothing is in it, and logins are identities; a private network closes it
  #checkov:skip=CKV2_AZURE_32: modules/network makes the private endpoint, where a private network is wanted
  name                          = var.vault
  resource_group_name           = var.group
  location                      = var.region
  tenant_id                     = var.tenant
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = 7
  public_network_access_enabled = !var.private_network

  network_acls {
    default_action = var.private_network ? "Deny" : "Allow"
    bypass         = "AzureServices"
  }
}

module "storage" {
  source = "../storage"

  name            = var.storage
  group           = var.group
  region          = var.region
  replication     = "LRS" # logs and snapshots, no data
  private_network = var.private_network
}

resource "azurerm_user_assigned_identity" "this" {
  name                = var.identity
  resource_group_name = var.group
  location            = var.region
}

locals {
  # What a workspace does by itself: it writes into its storage and its vault, and lets machines pull images.
  rights = {
    storage      = { scope = module.storage.id, role = "Storage Blob Data Contributor" }
    storage_plan = { scope = module.storage.id, role = "Contributor" }
    vault        = { scope = azurerm_key_vault.this.id, role = "Key Vault Administrator" }
    images       = { scope = var.registry_id, role = "AcrPull" }
    data         = { scope = var.container_id, role = "Storage Blob Data Reader" }
  }
}

resource "azurerm_role_assignment" "this" {
  for_each = local.rights

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.this.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_machine_learning_workspace" "this" {
  #checkov:skip=CKV2_AZURE_49: a private network closes it; without one people use the studio from anywhere, by their login
  name                           = var.name
  resource_group_name            = var.group
  location                       = var.region
  application_insights_id        = var.insights_id
  key_vault_id                   = azurerm_key_vault.this.id
  storage_account_id             = module.storage.id
  container_registry_id          = var.registry_id
  storage_account_access_type    = "Identity"
  public_network_access_enabled  = !var.private_network
  primary_user_assigned_identity = azurerm_user_assigned_identity.this.id

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this.id]
  }

  # No rule by a host's name: each would bring a firewall, with a price for every hour.
  dynamic "managed_network" {
    for_each = var.private_network ? ["private"] : []

    content {
      isolation_mode                = "AllowOnlyApprovedOutbound"
      provision_on_creation_enabled = true
    }
  }

  depends_on = [azurerm_role_assignment.this]
}

resource "azurerm_machine_learning_workspace_network_outbound_rule_private_endpoint" "data" {
  count = var.private_network ? 1 : 0

  name                = "data"
  workspace_id        = azurerm_machine_learning_workspace.this.id
  service_resource_id = var.data_account_id
  sub_resource_target = "blob"
}

resource "azurerm_machine_learning_datastore_blobstorage" "project" {
  name                       = "project"
  workspace_id               = azurerm_machine_learning_workspace.this.id
  storage_container_id       = var.container_id
  service_data_auth_identity = "WorkspaceUserAssignedIdentity"
}

resource "azurerm_machine_learning_compute_cluster" "this" {
  for_each = var.clusters

  name                          = each.key
  location                      = var.region
  machine_learning_workspace_id = azurerm_machine_learning_workspace.this.id
  vm_size                       = each.value.machine
  vm_priority                   = "Dedicated"
  local_auth_enabled            = false
  node_public_ip_enabled        = !var.private_network

  scale_settings {
    min_node_count                       = 0
    max_node_count                       = each.value.most
    scale_down_nodes_after_idle_duration = "PT2M"
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [each.value.identity_id]
  }
}

resource "azurerm_monitor_diagnostic_setting" "this" {
  name                       = "logs"
  target_resource_id         = azurerm_machine_learning_workspace.this.id
  log_analytics_workspace_id = var.logs_id

  enabled_log {
    category_group = "allLogs"
  }
}
