output "id" {
  description = "The registry."
  value       = azurerm_container_registry.this.id
}

output "host" {
  description = "The registry's host."
  value       = azurerm_container_registry.this.login_server
}
