# No pod is reached, and none reaches anything, but what stands here.

resource "kubernetes_network_policy_v1" "nothing" {
  for_each = kubernetes_namespace_v1.this

  metadata {
    name      = "nothing"
    namespace = each.value.metadata[0].name
    labels    = module.project.labels
  }

  spec {
    pod_selector {}
    policy_types = ["Ingress", "Egress"]
  }
}

resource "kubernetes_network_policy_v1" "out" {
  for_each = kubernetes_namespace_v1.this

  metadata {
    name      = "out"
    namespace = each.value.metadata[0].name
    labels    = module.project.labels
  }

  spec {
    pod_selector {}
    policy_types = ["Egress"]

    egress {
      to {
        namespace_selector {
          match_labels = { "kubernetes.io/metadata.name" = "kube-system" }
        }
      }
      ports {
        port     = "53"
        protocol = "UDP"
      }
      ports {
        port     = "53"
        protocol = "TCP"
      }
    }

    # The metadata of the machine stays out of reach, but for the way by which a cloud gives pods a login.
    egress {
      dynamic "to" {
        for_each = var.reachable
        content {
          ip_block {
            cidr   = to.value
            except = to.value == "0.0.0.0/0" ? ["169.254.169.254/32"] : []
          }
        }
      }
    }
  }
}

resource "kubernetes_network_policy_v1" "in" {
  for_each = module.project.online ? local.environments : {}

  metadata {
    name      = "in"
    namespace = each.value
    labels    = module.project.labels
  }

  spec {
    pod_selector {
      match_labels = { "app.kubernetes.io/component" = "service" }
    }
    policy_types = ["Ingress"]

    ingress {
      dynamic "from" {
        # kube-system has the agents by which the API servers of some clouds reach pods.
        for_each = [var.callers, var.monitors, { "kubernetes.io/metadata.name" = "kube-system" }]
        content {
          namespace_selector {
            match_labels = from.value
          }
        }
      }
      dynamic "from" {
        for_each = var.api_servers
        content {
          ip_block {
            cidr = from.value
          }
        }
      }
      ports {
        port     = "8080"
        protocol = "TCP"
      }
    }
  }

  depends_on = [kubernetes_namespace_v1.this]
}
