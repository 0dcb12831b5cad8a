# A budget for each resource group, with alerts at 80 % and when the forecast exceeds it. It stops nothing.

resource "azurerm_consumption_budget_resource_group" "this" {
  for_each = var.groups

  name              = var.name
  resource_group_id = each.value
  amount            = var.monthly_limit
  time_grain        = "Monthly"

  time_period {
    start_date = var.start
  }

  notification {
    operator       = "GreaterThan"
    threshold      = 80
    threshold_type = "Actual"
    contact_emails = [var.contact]
  }

  notification {
    operator       = "GreaterThan"
    threshold      = 100
    threshold_type = "Forecasted"
    contact_emails = [var.contact]
  }

  lifecycle {
    ignore_changes = [time_period] # Azure keeps the month in which it was made
  }
}
