variable "name" {
  description = "The budget's name."
  type        = string
}

variable "project" {
  description = "The value of the tag Project, by which costs are told apart."
  type        = string
}

variable "monthly_limit" {
  description = "What the project may cost in a month, in US dollars."
  type        = number

  validation {
    condition     = var.monthly_limit > 0
    error_message = "monthly_limit is a number of US dollars above 0."
  }
}

variable "contact" {
  description = "The e-mail address that gets the alerts."
  type        = string
}
