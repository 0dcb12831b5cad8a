variable "name" {
  description = "The bucket's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.name))
    error_message = "A bucket's name has 3 to 63 lower-case letters a-z, digits and hyphens."
  }
}

variable "key_arn" {
  description = "The KMS key that encrypts the bucket."
  type        = string
}

variable "keep_versions_days" {
  description = "After how many days overwritten and deleted objects are gone for good."
  type        = number
  default     = 90

  validation {
    condition     = var.keep_versions_days >= 7 && floor(var.keep_versions_days) == var.keep_versions_days
    error_message = "keep_versions_days is a whole number, at least 7: a mistake must be noticed before it is final."
  }
}

variable "expire_days" {
  description = "After how many days the objects below a prefix are deleted, by prefix."
  type        = map(number)
  default     = {}

  validation {
    condition     = alltrue([for prefix, days in var.expire_days : endswith(prefix, "/") && days >= 1])
    error_message = "expire_days maps a prefix that ends in / to a number of days, at least 1."
  }
}
