variable "environments" {
  description = "The settings of each environment, by name; environments.auto.tfvars holds them."
  type = map(object({
    latency_milliseconds = optional(number, 500)
    error_percent        = optional(number, 1)
  }))

  validation {
    condition     = length(var.environments) > 0
    error_message = "environments has no entry; see environments.auto.tfvars."
  }
}
