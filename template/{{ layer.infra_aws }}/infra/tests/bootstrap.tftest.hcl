# bootstrap/ and its modules, without an account.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  owner_id        = "1"
  repository_id   = "2"
  organization_id = "01234567-89ab-cdef-0123-456789abcdef"
}

run "plans" {
  command = plan # what `destroy` refuses to delete, a test could not take back

  module {
    source = "./bootstrap"
  }

  assert {
    condition     = alltrue([for name in keys(output.settings.environments) : contains(keys(output.settings.flow_role_arns), "deploy/${name}")])
    error_message = "Each environment has a role for deployments."
  }

  assert {
    condition     = output.settings.tracking_uri != null
    error_message = "There is an MLflow server, unless it is not wanted."
  }

  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key is rotated."
  }
}

run "without_a_tracking_server" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    tracking_server_size = null
  }

  assert {
    condition     = local.settings.tracking_uri == null
    error_message = "There is no MLflow server."
  }
}

run "missing_permissions_are_named_first" {
  command = plan

  module {
    source = "./bootstrap"
  }

  override_data {
    target = data.aws_iam_principal_policy_simulation.current
    values = {
      all_allowed = false
      results     = [{ action_name = "kms:CreateKey", allowed = false }]
    }
  }

  expect_failures = [data.aws_iam_principal_policy_simulation.current]
}

run "missing_quotas_are_named_first" {
  command = plan

  module {
    source = "./bootstrap"
  }

  override_data {
    target = data.aws_servicequotas_service_quota.needed
    values = { value = 0 }
  }

  expect_failures = [data.aws_servicequotas_service_quota.needed]
}

run "captures_are_kept_long_enough" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    capture_days = 1
  }

  expect_failures = [var.capture_days]
}
