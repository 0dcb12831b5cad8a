output "action_group_id" {
  description = "Whom alarms reach."
  value       = azurerm_monitor_action_group.this.id
}

output "alarms" {
  description = "The alarms."
  value       = keys(local.alarms)
}

output "workbook" {
  description = "The page with pictures."
  value       = azurerm_application_insights_workbook.this.display_name
}
