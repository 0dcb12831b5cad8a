variable "region" {
  description = "The Azure region."
  type        = string
}

variable "group" {
  description = "The resource group."
  type        = string
}

variable "name" {
  description = "The identity's name."
  type        = string
}

variable "issuer" {
  description = "Who issues the tokens: an address without https://; empty where no job takes the identity."
  type        = string
  default     = ""
}

variable "audience" {
  description = "For whom a token has to be."
  type        = string
  default     = ""
}

variable "subjects" {
  description = "How a token names the jobs that may take the identity, to the letter."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.subjects) <= 2 && alltrue([for subject in var.subjects : !strcontains(subject, "*")])
    error_message = "Azure compares a subject to the letter, and two are the most that a role needs."
  }
}
