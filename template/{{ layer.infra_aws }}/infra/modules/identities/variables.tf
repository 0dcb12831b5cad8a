variable "project" {
  description = "The names of the project, as the module project makes them."
  type = object({
    account             = string
    region              = string
    name                = string
    prefix              = string
    environments        = map(string)
    last_environment    = string
    online              = bool
    batch               = bool
    private_network     = bool
    model_package_group = string
    tracking_server     = string
    settings_parameter  = string
    roles = object({
      training     = string
      plan         = string
      train        = string
      environments = map(object({ apply = string, deploy = string, serving = string, schedule = string }))
    })
  })
}

variable "issuer" {
  description = "Who issues the tokens of the flows: an address without https://."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.-]+(/[A-Za-z0-9-]+)?$", var.issuer))
    error_message = "issuer is a host name, perhaps with a path, without https:// and without a slash at its end."
  }
}

variable "create_issuer" {
  description = "Whether to make the issuer known to the account. An account knows each issuer once: false if it does already."
  type        = bool
}

variable "trust" {
  description = "Which tokens may take which role. Keys: plan, train, and for each environment apply/NAME and deploy/NAME."
  type        = map(object({ audience = string, subjects = list(string) }))

  validation {
    condition     = alltrue([for trust in values(var.trust) : length(trust.subjects) > 0])
    error_message = "Each role needs the subject of a token: without one, every repository of the code host could take it."
  }

  validation {
    condition = alltrue(flatten([
      for role, trust in var.trust : [for subject in trust.subjects : role == "plan" || !strcontains(subject, "*")]
    ]))
    error_message = "Only the role plan, which changes nothing, may trust a pattern of subjects."
  }
}

variable "buckets" {
  description = "The ARNs of the buckets of Terraform's state and of the project's data."
  type        = object({ state = string, data = string })
}

variable "artifacts" {
  description = "The forms of keys under which models lie in the bucket of data."
  type        = list(string)
}

variable "key_arn" {
  description = "The KMS key of the project's data."
  type        = string
}

variable "image_repository_arn" {
  description = "The registry of the project's image."
  type        = string
}

variable "tracking_actions" {
  description = "What who tracks may do on the MLflow server."
  type        = list(string)
}

variable "changes_read_data" {
  description = "Whether the role plan may read all of the folder data/ of the bucket, and not data/sample/ alone."
  type        = bool
  default     = false
}
