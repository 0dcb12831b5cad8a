variable "name" {
  description = "The network's name."
  type        = string
}

variable "region" {
  description = "The AWS region, a part of the names of its services."
  type        = string
}

variable "account" {
  description = "The account whose identities may use the network's endpoints."
  type        = string
}

variable "cidr" {
  description = "The network's addresses."
  type        = string
  default     = "10.0.0.0/20"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.cidr)[1]), 32) <= 24
    error_message = "cidr is a block of IPv4 addresses from /16 to /24, such as 10.0.0.0/20."
  }
}

variable "zones" {
  description = "In how many availability zones there is a subnet. Each endpoint is paid for once a zone."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "zones is 2 or 3: an endpoint of SageMaker wants at least two."
  }
}

variable "key_arn" {
  description = "The KMS key that encrypts the flow logs."
  type        = string
}

variable "log_days" {
  description = "For how many days the flow logs are kept."
  type        = number
  default     = 365
}
