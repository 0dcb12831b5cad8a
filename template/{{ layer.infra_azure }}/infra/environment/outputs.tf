output "endpoint" {
  description = "The endpoint's name, which a deployment gives it; null without a service."
  value       = module.project.online ? module.project.endpoints[terraform.workspace] : null
}

output "alarms" {
  description = "The alarms."
  value       = module.monitoring.alarms
}

output "workbook" {
  description = "The page with pictures."
  value       = module.monitoring.workbook
}
