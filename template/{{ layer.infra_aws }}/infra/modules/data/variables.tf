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

variable "keep_expired_days" {
  description = "After how many days what has expired below a prefix of expire_days, or was removed there, is gone for good."
  type        = number
  default     = 7

  validation {
    condition     = var.keep_expired_days >= 1 && floor(var.keep_expired_days) == var.keep_expired_days
    error_message = "keep_expired_days is a whole number, at least 1."
  }
}

variable "write_once" {
  description = "Forms of keys, such as records/*, under which an object is written once and never over another one."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for form in var.write_once : can(regex("^[a-z].*[*]$", form))])
    error_message = "write_once names keys that begin with a letter and end in *."
  }
}
