output "group" {
  description = "The schedule's group."
  value       = aws_scheduler_schedule_group.this.name
}

output "schedule" {
  description = "The schedule, which a deployment switches on."
  value       = aws_scheduler_schedule.score.name
}
