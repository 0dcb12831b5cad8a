output "id" {
  description = "The workspace."
  value       = azurerm_machine_learning_workspace.this.id
}

output "private_resources" {
  description = "What private endpoints lead to, by the service's name."
  value = {
    amlworkspace = azurerm_machine_learning_workspace.this.id
    vault        = azurerm_key_vault.this.id
    blob         = module.storage.id
  }
}
