# environment/, without an account. The workspace says which environment: TF_WORKSPACE=production terraform test.

mock_provider "aws" {
  source = "./tests/mocks"
}

override_data {
  target = data.aws_ssm_parameter.settings
  values = {
    insecure_value = "{\"key_arn\": \"arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000\", \"schedule_role_arns\": {\"production\": \"arn:aws:iam::123456789012:role/schedule\"}}"
  }
}

run "applies" {
  module {
    source = "./environment"
  }

  variables {
    environments = { production = {} }
  }

  assert {
    condition     = endswith(output.dashboard, "--${terraform.workspace}")
    error_message = "Names are the environment's."
  }
}

run "without_settings" {
  command = plan

  module {
    source = "./environment"
  }

  variables {
    environments = { elsewhere = {} }
  }

  expect_failures = [data.aws_ssm_parameter.settings]
}
