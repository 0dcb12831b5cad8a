# The private network, which the answer private_network has chosen.

variable "network_cidr" {
  description = "The addresses of the private network."
  type        = string
  default     = "10.60.0.0/24"
}

module "network" {
  source = "../modules/network"

  name   = module.project.project
  group  = azurerm_resource_group.this[module.project.groups.SHARED].name
  region = module.project.region
  cidr   = var.network_cidr
  resources = merge(
    {
      data     = { id = module.data.id, service = "blob" }
      registry = { id = module.images.id, service = "registry" }
    },
    merge([
      for name in keys(local.workspaces) : {
        for service in ["amlworkspace", "vault", "blob"] : "${name}-${service}" => { id = module.workspace[name].private_resources[service], service = service }
      }
    ]...),
  )
}
