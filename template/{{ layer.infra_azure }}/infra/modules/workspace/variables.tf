variable "region" {
  description = "The Azure region."
  type        = string
}

variable "group" {
  description = "The resource group."
  type        = string
}

variable "name" {
  description = "The workspace's name."
  type        = string
}

variable "tenant" {
  description = "The tenant."
  type        = string
}

variable "vault" {
  description = "The key vault's name."
  type        = string
}

variable "storage" {
  description = "The name of the storage account that the workspace wants for itself."
  type        = string
}

variable "identity" {
  description = "The name of the workspace's identity."
  type        = string
}

variable "registry_id" {
  description = "The registry of images."
  type        = string
}

variable "data_account_id" {
  description = "The storage account of the project's data."
  type        = string
}

variable "container_id" {
  description = "The container of the project's data."
  type        = string
}

variable "insights_id" {
  description = "Application Insights, which a workspace wants."
  type        = string
}

variable "logs_id" {
  description = "Where logs go."
  type        = string
}

variable "private_network" {
  description = "Whether jobs and services run in a network of their own."
  type        = bool
}

variable "clusters" {
  description = "The clusters of machines: whose rights jobs have, which machines, and how many at most."
  type        = map(object({ machine = string, most = number, identity_id = string }))
}
