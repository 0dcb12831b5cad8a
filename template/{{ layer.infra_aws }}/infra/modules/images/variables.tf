variable "name" {
  description = "The repository's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]+(-[a-z0-9]+)+$", var.name)) && length(var.name) <= 256
    error_message = "A repository's name has lower-case letters a-z, digits and single hyphens."
  }
}

variable "key_arn" {
  description = "The KMS key that encrypts the images."
  type        = string
}

variable "keep_images" {
  description = "How many images are kept; the oldest go first."
  type        = number
  default     = 50

  validation {
    condition     = var.keep_images >= 10 && floor(var.keep_images) == var.keep_images
    error_message = "keep_images is a whole number, at least 10: a rollback needs the image of the version before."
  }
}
