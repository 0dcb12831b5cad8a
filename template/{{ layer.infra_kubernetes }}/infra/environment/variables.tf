variable "environments" {
  description = "What differs between the environments."
  type = map(object({
    latency_milliseconds = optional(number, 500)
    error_percent        = optional(number, 1)
    monitors             = optional(bool, true)
    labels               = optional(map(string), { release = "kube-prometheus-stack" })
  }))
}
