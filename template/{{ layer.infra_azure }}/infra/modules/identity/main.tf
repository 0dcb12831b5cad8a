# An identity, which tokens of the code host's jobs are exchanged for. One after the other: Azure refuses two at once.

resource "azurerm_user_assigned_identity" "this" {
  name                = var.name
  resource_group_name = var.group
  location            = var.region
}

resource "azurerm_federated_identity_credential" "first" {
  count = length(var.subjects) > 0 ? 1 : 0

  name                      = "first"
  user_assigned_identity_id = azurerm_user_assigned_identity.this.id
  issuer                    = "https://${var.issuer}"
  subject                   = var.subjects[0]
  audience                  = [var.audience]
}

resource "azurerm_federated_identity_credential" "second" {
  count = length(var.subjects) > 1 ? 1 : 0

  name                      = "second"
  user_assigned_identity_id = azurerm_user_assigned_identity.this.id
  issuer                    = "https://${var.issuer}"
  subject                   = var.subjects[1]
  audience                  = [var.audience]

  depends_on = [azurerm_federated_identity_credential.first]
}
