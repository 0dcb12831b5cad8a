# GitHub, whose tokens name the repository, and the environment or the branch of a job.
# https://docs.github.com/actions/reference/security/oidc

variable "owner_id" {
  description = "The number of the repository's owner: gh api repos/OWNER/NAME --jq .owner.id. Empty if the repository's tokens hold no numbers: it is older than July 2026 and has not opted in."
  type        = string

  validation {
    condition     = can(regex("^[0-9]*$", var.owner_id))
    error_message = "owner_id is a number, or empty."
  }
}

variable "repository_id" {
  description = "The number of the repository: gh api repos/OWNER/NAME --jq .id. Empty if owner_id is."
  type        = string

  validation {
    condition     = can(regex("^[0-9]*$", var.repository_id)) && (var.repository_id == "") == (var.owner_id == "")
    error_message = "repository_id is a number, or empty exactly if owner_id is."
  }
}

locals {
  issuer             = "token.actions.githubusercontent.com"
  fixed_audience     = null # a job says for whom its token is
  one_audience_a_job = false

  # With the numbers, a repository that takes this one's name later is not trusted.
  path = split("/", module.project.repository)
  subject = var.owner_id == "" ? "repo:${module.project.repository}" : join("", [
    "repo:${local.path[0]}@${var.owner_id}/${local.path[1]}@${var.repository_id}",
  ])

  # How a token names the jobs that may take a role.
  subjects = merge(
    {
      plan  = ["${local.subject}:pull_request", "${local.subject}:ref:refs/heads/main"]
      train = ["${local.subject}:ref:refs/heads/main"]
    },
    merge([
      for name in keys(module.project.environments) :
      { for purpose in ["apply", "deploy"] : "${purpose}/${name}" => ["${local.subject}:environment:${name}"] }
    ]...),
  )
}
