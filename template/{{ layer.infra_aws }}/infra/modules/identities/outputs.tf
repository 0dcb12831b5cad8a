output "role_arns" {
  description = "The ARNs of the flows' roles: plan, train, and for each environment apply/NAME and deploy/NAME."
  value       = { for name, role in aws_iam_role.flows : name => role.arn }
}
