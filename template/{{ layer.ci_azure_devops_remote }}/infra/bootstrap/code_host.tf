# Azure DevOps, whose tokens name the service connection of a job. There is one for each role; an approval on the
# service connection of an environment, and which pipelines may use it, Azure DevOps decides.
# https://learn.microsoft.com/rest/api/azure/devops/distributedtask/oidctoken/create

variable "organization_id" {
  description = "The identifier of the organization: instanceId in https://dev.azure.com/ORGANIZATION/_apis/connectionData."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.organization_id))
    error_message = "organization_id is an identifier of 32 hexadecimal digits with hyphens, such as 01234567-89ab-cdef-0123-456789abcdef."
  }
}

locals {
  issuer             = "vstoken.dev.azure.com/${var.organization_id}"
  fixed_audience     = "api://AzureADTokenExchange" # whatever a job asks for
  one_audience_a_job = false
  subject            = "sc://${join("/", slice(split("/", module.project.repository), 0, 2))}/${module.project.name}"

  # How a token names the jobs that may take a role, by their service connections: churn-plan, churn-train,
  # churn-apply-production, churn-deploy-production.
  subjects = merge(
    { for purpose in ["plan", "train"] : purpose => ["${local.subject}-${purpose}"] },
    merge([
      for name in keys(module.project.environments) :
      { for purpose in ["apply", "deploy"] : "${purpose}/${name}" => ["${local.subject}-${purpose}-${name}"] }
    ]...),
  )
}
