variable "region" {
  description = "The Azure region."
  type        = string
}

variable "group" {
  description = "The resource group."
  type        = string
}

variable "name" {
  description = "The registry's name; unique in the world."
  type        = string
}

variable "private_network" {
  description = "Whether it is reached through private endpoints alone."
  type        = bool
}
