# The modules one by one, without a subscription.

mock_provider "azurerm" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  group           = "rg-churn"
  region          = "westeurope"
  private_network = false
}

run "a_storage_account_has_no_keys" {
  command = plan

  module {
    source = "./modules/storage"
  }

  variables {
    name        = "stchurn000000"
    containers  = ["project", "state"]
    expire_days = { "project/captures/" = 90 }
  }

  assert {
    condition     = !azurerm_storage_account.this.shared_access_key_enabled && azurerm_storage_account.this.blob_properties[0].versioning_enabled
    error_message = "Logins are identities, and what is replaced is kept for a while."
  }
}

run "a_private_registry_is_not_reached_from_elsewhere" {
  command = plan

  module {
    source = "./modules/images"
  }

  variables {
    name            = "crchurn000000"
    private_network = true
  }

  assert {
    condition     = azurerm_container_registry.this.sku == "Premium" && !azurerm_container_registry.this.public_network_access_enabled
    error_message = "Private endpoints want Premium."
  }
}

run "an_identity_trusts_no_pattern" {
  command = plan

  module {
    source = "./modules/identity"
  }

  variables {
    name     = "id-churn-ci-plan"
    issuer   = "token.example"
    audience = "api://AzureADTokenExchange"
    subjects = ["repo:owner/name:*"]
  }

  expect_failures = [var.subjects]
}

run "two_jobs_may_take_an_identity" {
  command = plan

  module {
    source = "./modules/identity"
  }

  variables {
    name     = "id-churn-ci-plan"
    issuer   = "token.example"
    audience = "api://AzureADTokenExchange"
    subjects = ["repo:owner/name:pull_request", "repo:owner/name:ref:refs/heads/main"]
  }

  assert {
    condition     = azurerm_federated_identity_credential.second[0].subject == "repo:owner/name:ref:refs/heads/main"
    error_message = "Each subject has a credential of its own."
  }
}

run "who_only_reads_writes_nothing" {
  command = plan

  module {
    source = "./modules/blob_access"
  }

  variables {
    container_id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/st/blobServices/default/containers/project"
    principal_id = "00000000-0000-0000-0000-000000000000"
    reads        = ["models/*"]
  }

  assert {
    condition     = azurerm_role_assignment.this.role_definition_name == "Storage Blob Data Reader" && strcontains(azurerm_role_assignment.this.condition, "StringLike 'models/*'")
    error_message = "Reading is bound to paths."
  }
}

run "who_writes_is_bound_to_paths" {
  command = plan

  module {
    source = "./modules/blob_access"
  }

  variables {
    container_id = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/st/blobServices/default/containers/project"
    principal_id = "00000000-0000-0000-0000-000000000000"
    reads        = ["models/*"]
    writes       = ["captures/production/*"]
    keeps        = ["records/production/*"]
  }

  assert {
    condition     = length(regexall("StringLike 'models/[*]'", azurerm_role_assignment.this.condition)) == 1 && length(regexall("StringLike 'captures/production/[*]'", azurerm_role_assignment.this.condition)) == 3
    error_message = "What may be written may be read; what may be read may not be written."
  }

  assert {
    condition     = length(regexall("StringLike 'records/production/[*]'", azurerm_role_assignment.this.condition)) == 2
    error_message = "What is kept may be read and written, and not deleted."
  }
}

run "an_alarm_reads_the_logs" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    name                 = "churn-production"
    contact              = "team@example.com"
    logs_id              = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.OperationalInsights/workspaces/log"
    endpoint             = "churn-production-000000"
    online               = true
    batch                = true
    latency_milliseconds = 500
    error_percent        = 1
  }

  assert {
    condition     = toset(output.alarms) == toset(["errors", "latency", "scoring-failed"])
    error_message = "The service and the schedule have alarms."
  }
}
