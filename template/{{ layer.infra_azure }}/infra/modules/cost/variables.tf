variable "name" {
  description = "The budgets' name."
  type        = string
}

variable "groups" {
  description = "The resource groups, by a short name."
  type        = map(string)
}

variable "monthly_limit" {
  description = "What each may cost in a month, in the currency of the subscription."
  type        = number
}

variable "start" {
  description = "The first day of a month, from which on it counts."
  type        = string
}

variable "contact" {
  description = "Who gets alerts."
  type        = string
}
