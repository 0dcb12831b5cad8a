variable "region" {
  description = "The Azure region."
  type        = string
}

variable "group" {
  description = "The resource group."
  type        = string
}

variable "name" {
  description = "What names begin with."
  type        = string
}

variable "cidr" {
  description = "The addresses of the network."
  type        = string
}

variable "resources" {
  description = "What private endpoints lead to: the resource, and which of its services."
  type        = map(object({ id = string, service = string }))
}
