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

variable "contact" {
  description = "Who gets alarms."
  type        = string
}

variable "logs_id" {
  description = "Where logs are."
  type        = string
}

variable "endpoint" {
  description = "The endpoint's name."
  type        = string
}

variable "online" {
  description = "Whether a service answers requests."
  type        = bool
}

variable "batch" {
  description = "Whether tables are scored."
  type        = bool
}

variable "latency_milliseconds" {
  description = "The 99th percentile, above which there is an alarm."
  type        = number
}

variable "error_percent" {
  description = "How many of a hundred requests may fail."
  type        = number
}
