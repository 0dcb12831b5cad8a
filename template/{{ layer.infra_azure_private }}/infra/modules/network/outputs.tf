output "subnet_id" {
  description = "The subnet of the endpoints."
  value       = azurerm_subnet.endpoints.id
}
