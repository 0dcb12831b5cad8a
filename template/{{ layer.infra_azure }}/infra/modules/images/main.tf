# The registry of the project's images. Identities pull and push; it has no user of its own.

resource "azurerm_container_registry" "this" {
  name                          = var.name
  resource_group_name           = var.group
  location                      = var.region
  sku                           = var.private_network ? "Premium" : "Standard" # private endpoints want Premium
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = !var.private_network
}
