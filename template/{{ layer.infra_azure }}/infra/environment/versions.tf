terraform {
  required_version = ">= 1.11, < 2"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.81"
    }
  }

  backend "azurerm" {
    container_name   = "state"
    key              = "environment.tfstate"
    use_azuread_auth = true
  }
}

# Nothing is registered behind an administrator's back: ../README.md names the providers that a subscription needs.
provider "azurerm" {
  subscription_id                 = module.project.subscription
  tenant_id                       = module.project.tenant
  storage_use_azuread             = true
  resource_provider_registrations = "none"

  features {
    key_vault {
      purge_soft_delete_on_destroy    = false
      recover_soft_deleted_key_vaults = true
    }

    machine_learning {
      purge_soft_deleted_workspace_on_destroy = true # or its name stays taken for weeks
    }

    resource_group {
      prevent_deletion_if_contains_resources = true
    }
  }
}

module "project" {
  source = "../project"
}
