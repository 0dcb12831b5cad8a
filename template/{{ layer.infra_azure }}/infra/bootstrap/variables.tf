variable "monthly_budget" {
  description = "What each resource group may cost in a month, in the currency of the subscription; docs/cost.md says what it does cost."
  type        = number
  default     = 500
}

variable "budget_start" {
  description = "The first day of the month from which on budgets count, as Azure writes it."
  type        = string
  default     = "2026-12-01T00:00:00Z"
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

variable "log_days" {
  description = "For how many days logs are kept; 30 are included in what a line costs."
  type        = number
  default     = 30
}

variable "callers" {
  description = "The object identifiers of groups that may ask endpoints, by environment."
  type        = map(list(string))
  default     = {}
}

variable "guard_data" {
  description = "Whether a lock keeps the storage account from being deleted."
  type        = bool
  default     = true
}

variable "changes_read_data" {
  description = "Whether the check of a change may read all of the folder data/ of the storage, and not data/sample/ alone. Whoever proposes a change could take it away."
  type        = bool
  default     = false
}
