# The registry of the project's images. Identities pull and push; it has no user of its own.

resource "azurerm_container_registry" "this" {
  #checkov:skip=CKV_AZURE_139: without a private network the flows of the code host push from anywhere, by an identity
  #checkov:skip=CKV_AZURE_164: an image is deployed by its digest; content trust is for tags
  #checkov:skip=CKV_AZURE_165: everything is in one region
  #checkov:skip=CKV_AZURE_166: quarantine wants somebody who looks; the flow scans images before they are pushed
  #checkov:skip=CKV_AZURE_167: an image that runs has a tag, and one without is what a rollback may want
  #checkov:skip=CKV_AZURE_233: images can be pushed again; Premium would be needed
  #checkov:skip=CKV_AZURE_237: data endpoints are for firewalls that name hosts, of which there are none
  name                          = var.name
  resource_group_name           = var.group
  location                      = var.region
  sku                           = var.private_network ? "Premium" : "Standard" # private endpoints want Premium
  admin_enabled                 = false
  anonymous_pull_enabled        = false
  public_network_access_enabled = !var.private_network
}
