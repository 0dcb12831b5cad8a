output "id" {
  description = "The account."
  value       = azurerm_storage_account.this.id
}

output "name" {
  description = "The account's name."
  value       = azurerm_storage_account.this.name
}

output "container_ids" {
  description = "The containers by their names."
  value       = { for name, container in azurerm_storage_container.this : name => container.id }
}
