output "subnet_ids" {
  description = "The subnets, one in each availability zone."
  value       = aws_subnet.this[*].id
}

output "subnet_arns" {
  description = "The subnets' ARNs."
  value       = aws_subnet.this[*].arn
}

output "security_group_id" {
  description = "The security group of jobs and services."
  value       = aws_security_group.jobs.id
}

output "security_group_arn" {
  description = "The ARN of that group."
  value       = aws_security_group.jobs.arn
}
