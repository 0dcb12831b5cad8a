# A storage account: versioned, private, without keys, not deleted by mistake.

resource "azurerm_storage_account" "this" {
  #checkov:skip=CKV_AZURE_33: there are no queues
  #checkov:skip=CKV_AZURE_59: without a private network the flows of the code host read and write from anywhere, by an identity
  #checkov:skip=CKV_AZURE_206: the data stays in its region; ZRS keeps it in three zones
  #checkov:skip=CKV2_AZURE_1: Azure's own key, and infrastructure encryption beside it; a key of one's own can be lost with all data
  #checkov:skip=CKV2_AZURE_33: modules/network makes the private endpoint, where a private network is wanted
  name                              = var.name
  resource_group_name               = var.group
  location                          = var.region
  account_tier                      = "Standard"
  account_replication_type          = var.replication
  shared_access_key_enabled         = false # logins are identities, nothing else
  default_to_oauth_authentication   = true
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  public_network_access_enabled     = !var.private_network
  min_tls_version                   = "TLS1_2"
  infrastructure_encryption_enabled = true

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = 30
    }

    container_delete_retention_policy {
      days = 30
    }
  }

  network_rules {
    default_action = var.private_network ? "Deny" : "Allow"
    bypass         = ["AzureServices"]
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "azurerm_storage_container" "this" {
  #checkov:skip=CKV2_AZURE_21: who read what would cost more than the data; writes leave versions
  for_each = toset(var.containers)

  name               = each.key
  storage_account_id = azurerm_storage_account.this.id
}

# What is only for the monitor goes by itself, and so do versions that were replaced.
resource "azurerm_storage_management_policy" "this" {
  storage_account_id = azurerm_storage_account.this.id

  rule {
    name    = "versions"
    enabled = true

    filters {
      blob_types = ["blockBlob"]
    }

    actions {
      version {
        delete_after_days_since_creation = 30
      }
    }
  }

  dynamic "rule" {
    for_each = var.expire_days

    content {
      name    = replace(trimsuffix(rule.key, "/"), "/", "-")
      enabled = true

      filters {
        prefix_match = [rule.key]
        blob_types   = ["blockBlob"]
      }

      actions {
        base_blob {
          delete_after_days_since_modification_greater_than = rule.value
        }
      }
    }
  }
}
