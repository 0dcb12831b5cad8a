variable "container_id" {
  description = "The container."
  type        = string
}

variable "principal_id" {
  description = "Whose right it is."
  type        = string
}

variable "reads" {
  description = "Patterns of paths that may be read."
  type        = list(string)
}

variable "writes" {
  description = "Patterns of paths that may be read and written."
  type        = list(string)
  default     = []
}

variable "keeps" {
  description = "Patterns of paths that may be read and written, and from which nothing may be deleted."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.keeps) == 0 || length(var.writes) > 0
    error_message = "Who keeps something writes something else too."
  }
}
