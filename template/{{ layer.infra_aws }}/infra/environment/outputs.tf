output "endpoint" {
  description = "The endpoint's name, which a deployment gives it; null without a service."
  value       = module.project.online ? local.name : null
}

output "canary_alarms" {
  description = "The alarms that a deployment watches while a canary gets requests."
  value       = module.monitoring.canary_alarms
}

output "topic_arn" {
  description = "The topic of the alarms."
  value       = module.monitoring.topic_arn
}

output "dashboard" {
  description = "The dashboard's name."
  value       = module.monitoring.dashboard
}

output "scoring" {
  description = "The pipeline that a deployment makes, and the schedule that it switches on; null without scoring."
  value = one([for batch in module.batch : {
    pipeline       = "${local.name}--score"
    schedule_group = batch.group
    schedule       = batch.schedule
  }])
}
