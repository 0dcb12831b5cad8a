# One environment. Which one, the workspace says: TF_WORKSPACE=production terraform apply. See ../README.md.

locals {
  # A workspace that is no environment stops at the preconditions below, and gets there by these.
  namespace = lookup(module.project.environments, terraform.workspace, module.project.name)
  wanted    = lookup(var.environments, terraform.workspace, values(var.environments)[0])
  nobody    = { least = 1, most = 1, cpu_percent = 70 }
  sizes     = module.project.online ? yamldecode(file("${path.module}/../machines.yaml")).serving : {}
  size      = merge(local.nobody, try(local.sizes[terraform.workspace], {}))
  scales    = module.project.online && !module.project.kserve && local.size.most > local.size.least
}

resource "terraform_data" "environment" {
  input = terraform.workspace

  lifecycle {
    precondition {
      condition     = contains(keys(module.project.environments), terraform.workspace)
      error_message = "The workspace ${terraform.workspace} is no environment. Set TF_WORKSPACE to one of: ${join(", ", keys(module.project.environments))}."
    }

    precondition {
      condition     = contains(keys(var.environments), terraform.workspace)
      error_message = "environments.auto.tfvars has no settings for ${terraform.workspace}; an empty block, {}, takes the defaults."
    }
  }
}

# When nodes are drained, one pod after the other goes.
resource "kubernetes_pod_disruption_budget_v1" "service" {
  count = module.project.online ? 1 : 0

  metadata {
    name      = module.project.name
    namespace = local.namespace
    labels    = module.project.labels
  }

  spec {
    max_unavailable = "1"
    selector {
      match_labels = {
        "app.kubernetes.io/name"      = module.project.name
        "app.kubernetes.io/component" = "service"
      }
    }
  }

  depends_on = [terraform_data.environment]
}

# KServe makes its own.
resource "kubernetes_horizontal_pod_autoscaler_v2" "service" {
  count = local.scales ? 1 : 0

  metadata {
    name      = module.project.name
    namespace = local.namespace
    labels    = module.project.labels
  }

  spec {
    min_replicas = local.size.least
    max_replicas = local.size.most

    scale_target_ref {
      api_version = "apps/v1"
      kind        = "Deployment"
      name        = module.project.deployment
    }

    metric {
      type = "Resource"
      resource {
        name = "cpu"
        target {
          type                = "Utilization"
          average_utilization = local.size.cpu_percent
        }
      }
    }
  }

  depends_on = [terraform_data.environment]
}
