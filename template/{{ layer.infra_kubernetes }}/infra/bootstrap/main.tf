# What the environments share, and what must outlive them: namespaces, accounts, limits, and who may do what.
# An administrator of the cluster applies this, once, and again after a change of this folder. See ../README.md.

locals {
  environments = module.project.environments

  # The project's own namespace has the training, the lock of deployments and the settings.
  namespaces = merge({ "" = module.project.name }, local.environments)

  # Which service accounts there are where.
  accounts = merge(
    { "training" = { account = "training", namespace = module.project.name } },
    module.project.online ? {
      for name, namespace in local.environments : "serving/${name}" => { account = "serving", namespace = namespace }
    } : {},
    module.project.batch ? {
      "scoring" = { account = "scoring", namespace = local.environments[module.project.last_environment] }
    } : {},
  )

  # What the verbs and the flows need to know; nothing of it is secret.
  settings = {
    environments      = local.environments
    tracking_uri      = var.tracking_uri
    pod_environment   = var.pod_environment
    image_pull_secret = var.image_pull_secret
    queue             = var.queue
    kubeflow          = var.kubeflow
    roles             = { for role, account in kubernetes_service_account_v1.flow : role => "${module.project.flows_namespace}/${account.metadata[0].name}" }
  }
}

resource "kubernetes_namespace_v1" "this" {
  for_each = local.namespaces

  metadata {
    name = each.value
    labels = merge(module.project.labels, {
      "pod-security.kubernetes.io/enforce" = "restricted"
      "pod-security.kubernetes.io/warn"    = "restricted"
    })
  }
}

resource "kubernetes_service_account_v1" "this" {
  for_each = local.accounts

  metadata {
    name        = each.value.account
    namespace   = each.value.namespace
    labels      = module.project.labels
    annotations = lookup(var.service_account_annotations, each.value.account, {})
  }

  automount_service_account_token = false

  depends_on = [kubernetes_namespace_v1.this]
}

resource "kubernetes_config_map_v1" "settings" {
  metadata {
    name      = "settings"
    namespace = kubernetes_namespace_v1.this[""].metadata[0].name
    labels    = module.project.labels
  }

  data = { "settings.json" = jsonencode(local.settings) }
}

resource "kubernetes_resource_quota_v1" "this" {
  for_each = kubernetes_namespace_v1.this

  metadata {
    name      = "project"
    namespace = each.value.metadata[0].name
    labels    = module.project.labels
  }

  spec {
    hard = var.quota
  }
}

# What names no resources gets these: a quota refuses it otherwise.
resource "kubernetes_limit_range_v1" "this" {
  for_each = kubernetes_namespace_v1.this

  metadata {
    name      = "project"
    namespace = each.value.metadata[0].name
    labels    = module.project.labels
  }

  spec {
    limit {
      type            = "Container"
      default         = { memory = "512Mi" }
      default_request = { cpu = "100m", memory = "256Mi" }
    }
  }
}
