variable "project" {
  description = "The names of the project, as the module project makes them."
  type = object({
    account             = string
    region              = string
    prefix              = string
    environments        = map(string)
    batch               = bool
    model_package_group = string
    tracking_server     = string
    roles = object({
      training     = string
      mlflow       = string
      environments = map(object({ serving = string, schedule = string }))
    })
  })
}

variable "bucket_arn" {
  description = "The bucket of the project's data."
  type        = string
}

variable "key_arn" {
  description = "The KMS key of the project's data."
  type        = string
}

variable "image_repository_arn" {
  description = "The registry of the project's image."
  type        = string
}

variable "network" {
  description = "Where jobs and services run; null where they run in SageMaker's own network."
  type = object({
    subnet_arns        = list(string)
    security_group_arn = string
  })
  default = null
}

variable "tracking_server_size" {
  description = "The size of SageMaker's managed MLflow server: Small, Medium or Large; null for none, if you have another one."
  type        = string

  validation {
    condition     = var.tracking_server_size == null || contains(["Small", "Medium", "Large"], coalesce(var.tracking_server_size, "none"))
    error_message = "tracking_server_size is Small, Medium, Large or null."
  }
}
