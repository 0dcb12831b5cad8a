output "settings" {
  description = "What the environments and the flows need to know; also in the parameter settings_parameter."
  value       = local.settings
}

output "settings_parameter" {
  description = "The SSM parameter that holds the settings as JSON."
  value       = aws_ssm_parameter.settings.name
}

output "state_bucket" {
  description = "The bucket of Terraform's state."
  value       = module.state.name
}

output "environments" {
  description = "The names of the environments, for bootstrap.sh."
  value       = join(" ", keys(module.project.environments))
}
