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
