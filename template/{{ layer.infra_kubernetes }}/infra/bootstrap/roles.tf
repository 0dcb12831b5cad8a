# Who may do what, and nothing besides: the template's tests hold that each right is used, and that none is missing.

locals {
  # How the API server calls the flows' jobs: code_host.tf says how their tokens name them.
  users = {
    for role, subjects in local.subjects : role => [
      for subject in subjects : join("", concat([var.username_prefix, subject], local.one_audience_a_job ? [
        "${var.audience_separator}${module.project.cluster}#${module.project.roles[role]}"
      ] : []))
    ]
  }

  # A subject with a wildcard is no name that a cluster knows. The jobs it stands for share a group, their repository's.
  bound = {
    for role, users in local.users : role => [
      for user in users : strcontains(user, "*") ?
      { kind = "Group", name = "${var.username_prefix}${module.project.repository}" } : { kind = "User", name = user }
    ]
  }

  settings_right = [
    { api_groups = [""], resources = ["configmaps"], resource_names = ["settings"], verbs = ["get"] },
  ]

  # In the namespace of an environment.
  deploy_rules = concat(
    [
      { api_groups = [""], resources = ["pods"], resource_names = null, verbs = ["list"] },
      { api_groups = [""], resources = ["pods/log"], resource_names = null, verbs = ["get"] },
    ],
    module.project.online ? [
      { api_groups = [""], resources = ["configmaps"], resource_names = null, verbs = ["get", "list", "create", "delete"] },
      { api_groups = [""], resources = ["pods/proxy"], resource_names = null, verbs = ["get"] },
      { api_groups = [""], resources = ["services/proxy"], resource_names = null, verbs = ["get", "create"] },
    ] : [],
    module.project.batch ? [
      { api_groups = ["batch"], resources = ["cronjobs"], resource_names = null, verbs = ["get", "create", "patch", "delete"] },
      { api_groups = ["batch"], resources = ["jobs"], resource_names = null, verbs = ["get", "list", "create", "delete"] },
    ] : [],
  )

  # What keeps the service's pods: a Deployment and its Service, or KServe, which makes both.
  deployment_rules = [
    { api_groups = [""], resources = ["services"], resource_names = null, verbs = ["create", "patch", "delete"] },
    { api_groups = ["apps"], resources = ["deployments"], resource_names = null, verbs = ["get", "create", "patch", "update", "delete"] },
  ]
  kserve_rules = [
    { api_groups = ["apps"], resources = ["deployments"], resource_names = null, verbs = ["get"] },
    { api_groups = ["serving.kserve.io"], resources = ["inferenceservices"], resource_names = null, verbs = ["get", "create", "patch", "delete"] },
  ]
  workload_rules = !module.project.online ? [] : module.project.kserve ? local.kserve_rules : local.deployment_rules

  # In the namespaces of the other environments: a trial begins with what production runs, and `status` tells of all.
  look_rules = concat(
    [
      { api_groups = [""], resources = ["configmaps"], resource_names = null, verbs = ["get"] },
      { api_groups = [""], resources = ["pods"], resource_names = null, verbs = ["list"] },
      { api_groups = [""], resources = ["pods/proxy"], resource_names = null, verbs = ["get"] },
      { api_groups = ["apps"], resources = ["deployments"], resource_names = null, verbs = ["get"] },
    ],
    module.project.kserve ? [
      { api_groups = ["serving.kserve.io"], resources = ["inferenceservices"], resource_names = null, verbs = ["get"] },
    ] : [],
  )

  # In the project's own namespace.
  lock_rules = [
    { api_groups = ["coordination.k8s.io"], resources = ["leases"], resource_names = null, verbs = ["get", "create", "update", "patch"] },
  ]
  train_rules = [
    { api_groups = ["batch"], resources = ["jobs"], resource_names = null, verbs = ["get", "list", "create", "delete"] },
    { api_groups = [""], resources = ["pods"], resource_names = null, verbs = ["list"] },
    { api_groups = [""], resources = ["pods/log"], resource_names = null, verbs = ["get"] },
  ]

  # In the namespace of Kubeflow Pipelines: its interface, and the logs of the steps.
  pipeline_rules = [
    { api_groups = [""], resources = ["services/proxy"], resource_names = try([split("/", var.kubeflow)[1]], []), verbs = ["get", "create"] },
    { api_groups = [""], resources = ["pods/log"], resource_names = null, verbs = ["get"] },
  ]

  # Of who plans, and of who applies: what stands in environment/.
  read_rules = concat(
    [{ api_groups = [""], resources = ["configmaps"], resource_names = null, verbs = ["get", "list"] }],
    module.project.online ? [
      { api_groups = ["policy"], resources = ["poddisruptionbudgets"], resource_names = null, verbs = ["get"] },
      { api_groups = ["autoscaling"], resources = ["horizontalpodautoscalers"], resource_names = null, verbs = ["get"] },
    ] : [],
    [{ api_groups = ["monitoring.coreos.com"], resources = ["prometheusrules", "podmonitors"], resource_names = null, verbs = ["get"] }],
  )
  apply_rules = concat(
    [{ api_groups = [""], resources = ["configmaps"], resource_names = null, verbs = ["get", "list", "create", "update", "patch", "delete"] }],
    module.project.online ? [
      { api_groups = ["policy"], resources = ["poddisruptionbudgets"], resource_names = null, verbs = ["get", "create", "patch", "update", "delete"] },
      { api_groups = ["autoscaling"], resources = ["horizontalpodautoscalers"], resource_names = null, verbs = ["get", "create", "patch", "update", "delete"] },
    ] : [],
    [{ api_groups = ["monitoring.coreos.com"], resources = ["prometheusrules", "podmonitors"], resource_names = null, verbs = ["get", "create", "patch", "update", "delete"] }],
  )

  # Of Terraform's state, in its own namespace.
  state_read_rules = [
    { api_groups = [""], resources = ["secrets"], resource_names = null, verbs = ["get", "list"] },
  ]
  state_write_rules = [
    { api_groups = [""], resources = ["secrets"], resource_names = null, verbs = ["get", "list", "create", "update", "patch", "delete"] },
    { api_groups = ["coordination.k8s.io"], resources = ["leases"], resource_names = null, verbs = ["get", "create", "update", "delete"] },
  ]

  # Each right of each role of the flows, by the namespace in which it has it.
  grants = merge(
    {
      "plan/settings"  = { role = "plan", namespace = module.project.name, rules = local.settings_right }
      "plan/state"     = { role = "plan", namespace = module.project.state_namespace, rules = local.state_read_rules }
      "train/training" = { role = "train", namespace = module.project.name, rules = concat(local.settings_right, local.train_rules) }
    },
    { for each in [var.kubeflow] : "train/pipelines" => {
      role = "train", namespace = split("/", each)[0], rules = local.pipeline_rules
    } if each != null },
    merge([
      for name, namespace in local.environments : {
        "plan/${name}"           = { role = "plan", namespace = namespace, rules = local.read_rules }
        "apply/${name}"          = { role = "apply/${name}", namespace = namespace, rules = local.apply_rules }
        "apply/${name}/settings" = { role = "apply/${name}", namespace = module.project.name, rules = local.settings_right }
        "apply/${name}/state"    = { role = "apply/${name}", namespace = module.project.state_namespace, rules = local.state_write_rules }
        "deploy/${name}"         = { role = "deploy/${name}", namespace = namespace, rules = concat(local.deploy_rules, local.workload_rules) }
        "deploy/${name}/lock"    = { role = "deploy/${name}", namespace = module.project.name, rules = concat(local.settings_right, local.lock_rules) }
      }
    ]...),
    merge([
      for name in keys(local.environments) : {
        for other, namespace in local.environments : "deploy/${name}/${other}" => {
          role = "deploy/${name}", namespace = namespace, rules = local.look_rules
        } if other != name && module.project.online
      }
    ]...),
  )
}

resource "kubernetes_role_v1" "this" {
  for_each = local.grants

  metadata {
    name      = replace(each.key, "/", "-")
    namespace = each.value.namespace
    labels    = module.project.labels
  }

  dynamic "rule" {
    for_each = each.value.rules
    content {
      api_groups     = rule.value.api_groups
      resources      = rule.value.resources
      resource_names = rule.value.resource_names
      verbs          = rule.value.verbs
    }
  }

  depends_on = [kubernetes_namespace_v1.this]
}

resource "kubernetes_role_binding_v1" "this" {
  for_each = local.grants

  metadata {
    name      = replace(each.key, "/", "-")
    namespace = each.value.namespace
    labels    = module.project.labels
  }

  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "Role"
    name      = kubernetes_role_v1.this[each.key].metadata[0].name
  }

  subject {
    kind      = "ServiceAccount"
    name      = kubernetes_service_account_v1.flow[each.value.role].metadata[0].name
    namespace = module.project.flows_namespace
  }
}

# A job's token lasts minutes. It is exchanged for one of its role's account, which lasts as long as the job: that is the
# only right that a job has by its own token.

resource "kubernetes_namespace_v1" "flows" {
  metadata {
    name   = module.project.flows_namespace
    labels = merge(module.project.labels, { "pod-security.kubernetes.io/enforce" = "restricted" })
  }
}

resource "kubernetes_service_account_v1" "flow" {
  for_each = module.project.roles

  metadata {
    name      = each.value
    namespace = kubernetes_namespace_v1.flows.metadata[0].name
    labels    = module.project.labels
  }

  automount_service_account_token = false
}

resource "kubernetes_role_v1" "flow" {
  for_each = kubernetes_service_account_v1.flow

  metadata {
    name      = each.value.metadata[0].name
    namespace = each.value.metadata[0].namespace
    labels    = module.project.labels
  }

  rule {
    api_groups     = [""]
    resources      = ["serviceaccounts/token"]
    resource_names = [each.value.metadata[0].name]
    verbs          = ["create"]
  }
}

resource "kubernetes_role_binding_v1" "flow" {
  for_each = kubernetes_role_v1.flow

  metadata {
    name      = each.value.metadata[0].name
    namespace = each.value.metadata[0].namespace
    labels    = module.project.labels
  }

  role_ref {
    api_group = "rbac.authorization.k8s.io"
    kind      = "Role"
    name      = each.value.metadata[0].name
  }

  dynamic "subject" {
    for_each = local.bound[each.key]
    content {
      kind      = subject.value.kind
      name      = subject.value.name
      api_group = "rbac.authorization.k8s.io"
    }
  }
}
