output "environments" {
  description = "The names of the environments, for bootstrap.sh."
  value       = join(" ", keys(module.project.environments))
}

output "flows" {
  description = "By which number a login names each identity of the flows."
  value       = { for role, flow in module.flow : role => flow.client_id }
}

output "storage" {
  description = "The storage account of data and state."
  value       = module.data.name
}
