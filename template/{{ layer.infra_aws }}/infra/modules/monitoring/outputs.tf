output "topic_arn" {
  description = "The topic of the alarms."
  value       = aws_sns_topic.alarms.arn
}

output "canary_alarms" {
  description = "The alarms that a deployment watches while a canary gets requests."
  value       = [for alarms in [aws_cloudwatch_metric_alarm.errors, aws_cloudwatch_metric_alarm.latency] : alarms["canary"].alarm_name if var.online]
}

output "log_group" {
  description = "The log group of the endpoint; null without one."
  value       = one(aws_cloudwatch_log_group.endpoint[*].name)
}

output "dashboard" {
  description = "The dashboard's name."
  value       = aws_cloudwatch_dashboard.this.dashboard_name
}
