output "model_package_group" {
  description = "The name of the group of registered models."
  value       = aws_sagemaker_model_package_group.this.model_package_group_name
}

output "training_role_arn" {
  description = "The role of the inner loop's pipeline and jobs."
  value       = aws_iam_role.training.arn
}

output "serving_role_arns" {
  description = "The role of what runs, by environment."
  value       = { for name, role in aws_iam_role.serving : name => role.arn }
}

output "schedule_role_arns" {
  description = "The role that starts scoring, by environment; empty without scoring."
  value       = { for name, role in aws_iam_role.schedule : name => role.arn }
}

output "tracking_uri" {
  description = "MLFLOW_TRACKING_URI, read by MLflow with the package sagemaker-mlflow; null without the managed server."
  value       = one(aws_sagemaker_mlflow_tracking_server.this[*].arn)
}

output "tracking_actions" {
  description = "What who tracks may do on the MLflow server."
  value       = local.tracking_actions
}
