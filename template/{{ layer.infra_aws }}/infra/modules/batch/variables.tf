variable "name" {
  description = "The environment's prefix of names; the schedule's group has this very name."
  type        = string
}

variable "pipeline_arn" {
  description = "The pipeline that scores. A deployment makes it."
  type        = string
}

variable "role_arn" {
  description = "The role that may start it."
  type        = string
}

variable "key_arn" {
  description = "The KMS key that encrypts the schedule."
  type        = string
}

variable "schedule" {
  description = "When to score: a cron or rate expression of EventBridge Scheduler."
  type        = string

  validation {
    condition     = can(regex("^(cron\\([^ ]+( [^ ]+){5}\\)|rate\\([1-9][0-9]* (minute|hour|day)s?\\))$", var.schedule))
    error_message = "schedule is cron(MINUTE HOUR DAY MONTH WEEKDAY YEAR), such as cron(30 4 * * ? *), or rate(1 day)."
  }
}

variable "timezone" {
  description = "The time zone of the schedule, such as UTC or Europe/Berlin."
  type        = string
}
