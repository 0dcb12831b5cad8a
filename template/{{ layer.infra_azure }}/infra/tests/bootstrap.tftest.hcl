# bootstrap/ and its modules, without a subscription.

mock_provider "azurerm" {
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
    condition     = alltrue([for name in split(" ", output.environments) : contains(keys(output.flows), "deploy/${name}")])
    error_message = "Each environment has an identity for deployments."
  }

  assert {
    condition     = alltrue([for role, trust in local.trust : length(trust.subjects) > 0 && !strcontains(join("", trust.subjects), "*")])
    error_message = "Each identity trusts certain jobs, to the letter."
  }

  assert {
    condition     = alltrue([for role in values(azurerm_role_definition.this) : !strcontains(join(" ", role.permissions[0].actions), "listKeys")])
    error_message = "Nobody may read keys."
  }

  assert {
    condition     = alltrue([for each in values(local.assignments) : each.built_in == null ? true : !contains(["Owner", "Contributor"], each.built_in)])
    error_message = "No flow has a right to all there is."
  }
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
