variable "region" {
  description = "The Azure region."
  type        = string
}

variable "group" {
  description = "The resource group."
  type        = string
}

variable "name" {
  description = "The account's name; unique in the world."
  type        = string
}

variable "private_network" {
  description = "Whether it is reached through private endpoints alone."
  type        = bool
}

variable "replication" {
  description = "How copies are kept: ZRS or LRS."
  type        = string
  default     = "ZRS"
}

variable "containers" {
  description = "The containers."
  type        = list(string)
  default     = []
}

variable "expire_days" {
  description = "After how many days files are deleted, by the beginning of their paths."
  type        = map(number)
  default     = {}
}
