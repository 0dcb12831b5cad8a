variable "name" {
  description = "The environment's prefix of names; its endpoint has this very name."
  type        = string
}

variable "region" {
  description = "The AWS region."
  type        = string
}

variable "account" {
  description = "The AWS account."
  type        = string
}

variable "contact" {
  description = "The e-mail address that gets the alarms. AWS sends it a message first, to be confirmed."
  type        = string
}

variable "key_arn" {
  description = "The KMS key of logs and alarms."
  type        = string
}

variable "online" {
  description = "Whether a service answers requests."
  type        = bool
}

variable "batch" {
  description = "Whether tables are scored on a schedule."
  type        = bool
}

variable "variants" {
  description = "The variants of the endpoint, as deployments name them."
  type        = list(string)
  default     = ["stable", "canary"]
}

variable "log_days" {
  description = "For how many days the service's logs are kept."
  type        = number

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "log_days is a number of days that CloudWatch Logs knows, such as 30, 90 or 365."
  }
}

variable "latency_milliseconds" {
  description = "Above which time of an answer, at the 99th percentile over five minutes, there is an alarm."
  type        = number

  validation {
    condition     = var.latency_milliseconds > 0
    error_message = "latency_milliseconds is a number above 0."
  }
}

variable "error_percent" {
  description = "Above which share of failed requests, over five minutes, there is an alarm."
  type        = number

  validation {
    condition     = var.error_percent >= 0 && var.error_percent < 100
    error_message = "error_percent is a number from 0, below 100."
  }
}
