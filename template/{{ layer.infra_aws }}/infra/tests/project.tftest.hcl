# Names: within AWS's limits for every name that a project may have, and never another project's.

run "short_names_stay_as_they_are" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    name         = "late_trains"
    environments = ["staging", "production"]
  }

  assert {
    condition     = output.environments == { staging = "late-trains--staging", production = "late-trains--production" }
    error_message = "A short name is not changed."
  }

  assert {
    condition     = output.last_environment == "production"
    error_message = "The last environment serves users."
  }

  assert {
    condition     = output.roles.environments.production.apply == "late-trains--production--apply"
    error_message = "A role is named after its environment and its purpose."
  }
}

run "long_names_fit" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    name         = "a23456789_123456789_123456789_1234567899"
    environments = ["p2345678901234567890", "q2345678901234567890"]
  }

  assert {
    condition     = alltrue([for bucket in values(output.buckets) : length(bucket) <= 63])
    error_message = "A bucket's name has at most 63 characters."
  }

  assert {
    condition = alltrue([
      for role in concat([output.roles.training, output.roles.mlflow, output.roles.plan, output.roles.train], flatten([for roles in values(output.roles.environments) : values(roles)])) : length(role) <= 64
    ])
    error_message = "A role's name has at most 64 characters."
  }

  assert {
    condition     = alltrue([for name in values(output.environments) : length(name) <= 46])
    error_message = "An endpoint's name has at most 63 characters, its configuration's name adds up to 17."
  }

  assert {
    condition     = length(output.model_package_group) <= 63 && length(output.tracking_server) <= 256
    error_message = "A group of model packages has at most 63 characters."
  }
}

run "short_names_are_long_enough" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    name = "a"
  }

  assert {
    condition     = alltrue([for name in concat(values(output.buckets), [output.image_repository]) : length(name) >= 3])
    error_message = "A bucket's name has at least 3 characters, a registry's 2."
  }
}

run "no_environment_begins_like_another_one" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    environments = ["prod", "prod-", "prod--eu", "prod-eu"]
  }

  assert {
    condition = alltrue(flatten([
      for one in values(output.environments) : [for other in values(output.environments) : one == other || !startswith("${other}--", "${one}--")]
    ]))
    error_message = "A policy for one environment would hold for another one."
  }

  assert {
    condition     = alltrue([for name in values(output.environments) : can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9])*$", name))])
    error_message = "SageMaker takes no such name."
  }
}

run "wrong_account" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    account = "1234-5678-9012"
  }

  expect_failures = [var.account]
}

run "wrong_region" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    region = "cn-north-1"
  }

  expect_failures = [var.region]
}

run "wrong_name" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    name = "two__underscores"
  }

  expect_failures = [var.name]
}

run "wrong_repository" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    repository = "owner/*"
  }

  expect_failures = [var.repository]
}

run "wrong_contact_owner_and_environments" {
  command = plan

  module {
    source = "./project"
  }

  variables {
    contact      = "nobody"
    owner        = "a team"
    environments = ["Production"]
  }

  expect_failures = [var.contact, var.owner, var.environments]
}
