# bootstrap/, without a cluster.

mock_provider "kubernetes" {}

variables {
  owner_id        = "1"
  repository_id   = "2"
  organization_id = "01234567-89ab-cdef-0123-456789abcdef"
}

run "plans" {
  command = plan

  module {
    source = "./bootstrap"
  }

  assert {
    condition     = alltrue([for each in values(kubernetes_namespace_v1.this) : each.metadata[0].labels["pod-security.kubernetes.io/enforce"] == "restricted"])
    error_message = "Each namespace demands restricted pods."
  }

  assert {
    condition     = alltrue([for each in values(kubernetes_service_account_v1.this) : !each.automount_service_account_token])
    error_message = "No pod gets a token."
  }

  assert {
    condition     = length(kubernetes_network_policy_v1.nothing) == length(output.settings.environments) + 1
    error_message = "Each namespace begins closed."
  }

  assert {
    condition     = alltrue([for name in keys(output.settings.environments) : contains(keys(output.settings.roles), "deploy/${name}")])
    error_message = "Each environment has a role for deployments."
  }

  assert {
    condition     = alltrue(flatten([for users in values(local.bound) : [for user in users : !strcontains(user.name, "*")]]))
    error_message = "No binding has a wildcard: a cluster takes it for a name."
  }

  assert {
    condition     = length(distinct(flatten([for role, users in local.users : users if startswith(role, "deploy/")]))) >= length(output.settings.environments)
    error_message = "A job of one environment is never taken for one of another."
  }
}

run "an_environment_is_named_as_a_namespace_may_be" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    name         = "a_b"
    environments = ["dev-", "live"]
  }

  assert {
    condition     = alltrue([for each in values(output.environments) : can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", each))])
    error_message = "A namespace begins and ends with a letter or a digit."
  }
}

run "an_address_with_a_password_is_refused" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    tracking_uri = "https://user:password@mlflow.example.com"
  }

  expect_failures = [var.tracking_uri]
}

run "with_kubeflow_pipelines" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    kubeflow = "kubeflow/ml-pipeline:8888"
  }

  assert {
    condition     = kubernetes_role_v1.this["train/pipelines"].metadata[0].namespace == "kubeflow"
    error_message = "Who trains may ask Kubeflow Pipelines."
  }

  assert {
    condition     = output.settings.kubeflow == "kubeflow/ml-pipeline:8888"
    error_message = "The verbs know where it is."
  }
}
