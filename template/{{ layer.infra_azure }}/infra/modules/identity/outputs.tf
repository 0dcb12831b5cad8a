output "id" {
  description = "The identity."
  value       = azurerm_user_assigned_identity.this.id
}

output "principal_id" {
  description = "By which rights name it."
  value       = azurerm_user_assigned_identity.this.principal_id
}

output "client_id" {
  description = "By which a login names it."
  value       = azurerm_user_assigned_identity.this.client_id
}
