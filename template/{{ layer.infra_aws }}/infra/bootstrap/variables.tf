variable "monthly_budget" {
  description = "What the project may cost in a month, in US dollars; docs/cost.md says what it does cost."
  type        = number
  default     = 1000
}

variable "tracking_server_size" {
  description = "The size of SageMaker's managed MLflow server: Small, Medium or Large; null for none, if you have another one."
  type        = string
  default     = "Small"
}

variable "capture_days" {
  description = "For how many days requests and predictions are kept for the monitor."
  type        = number
  default     = 90

  validation {
    condition     = var.capture_days >= 30 && floor(var.capture_days) == var.capture_days
    error_message = "capture_days is a whole number, at least 30: the monitor compares windows of days, and labels come late."
  }
}

variable "network_cidr" {
  description = "The addresses of the private network, if there is one."
  type        = string
  default     = "10.0.0.0/20"
}

variable "create_issuer" {
  description = "Whether to make the code host known to the account as an issuer of tokens; false if another project has done so."
  type        = bool
  default     = true
}

variable "preflight" {
  description = "Whether to check permissions and quotas before anything is made."
  type        = bool
  default     = true
}

variable "changes_read_data" {
  description = "Whether the check of a change may read all of the folder data/ of the bucket, and not data/sample/ alone. Whoever proposes a change could take it away."
  type        = bool
  default     = false
}
