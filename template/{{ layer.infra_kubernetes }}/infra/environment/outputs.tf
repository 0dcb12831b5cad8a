output "namespace" {
  description = "The environment's namespace."
  value       = local.namespace
}
