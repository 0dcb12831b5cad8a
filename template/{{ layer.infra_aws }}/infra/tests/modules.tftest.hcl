# Each module for itself: what it promises, and what it refuses.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  key_arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  account = "123456789012"
  region  = "eu-west-1"
  contact = "team@example.com"
}

run "data" {
  command = plan # what `destroy` refuses to delete, a test could not take back

  module {
    source = "./modules/data"
  }

  variables {
    name        = "123456789012-churn-data"
    expire_days = { "captures/" = 90 }
    write_once  = ["models/a*"]
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "Objects have versions."
  }

  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.this.rule) == 2
    error_message = "Old versions go, and what expires."
  }

  assert {
    condition = alltrue([
      for rule in aws_s3_bucket_lifecycle_configuration.this.rule :
      rule.noncurrent_version_expiration[0].noncurrent_days == (rule.id == "expire-captures" ? 7 : 90)
    ])
    error_message = "What has expired, or was removed by hand, is soon gone in its old versions too."
  }
}

run "data_that_would_be_gone_at_once" {
  command = plan

  module {
    source = "./modules/data"
  }

  variables {
    name               = "Churn_data"
    keep_versions_days = 1
    expire_days        = { captures = 90 }
    write_once         = ["/"]
  }

  expect_failures = [var.name, var.keep_versions_days, var.expire_days, var.write_once]
}

run "images" {
  module {
    source = "./modules/images"
  }

  variables {
    name = "churn-image"
  }

  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE"
    error_message = "A tag never moves."
  }
}

run "images_of_which_too_few_are_kept" {
  command = plan

  module {
    source = "./modules/images"
  }

  variables {
    name        = "Churn"
    keep_images = 1
  }

  expect_failures = [var.name, var.keep_images]
}

run "network" {
  module {
    source = "./modules/network"
  }

  variables {
    name = "churn--network"
  }

  assert {
    condition     = length(aws_subnet.this) == 2 && length(output.subnet_ids) == 2
    error_message = "There are subnets in two zones."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.services : endpoint.private_dns_enabled])
    error_message = "The services' usual names lead to the endpoints."
  }
}

run "network_without_room" {
  command = plan

  module {
    source = "./modules/network"
  }

  variables {
    name  = "churn--network"
    cidr  = "10.0.0.0/28"
    zones = 1
  }

  expect_failures = [var.cidr, var.zones]
}

run "machine_learning_with_an_unknown_size" {
  command = plan

  module {
    source = "./modules/machine_learning"
  }

  variables {
    project = {
      account             = "123456789012"
      region              = "eu-west-1"
      prefix              = "churn--"
      environments        = { production = "churn--production" }
      batch               = true
      model_package_group = "churn"
      tracking_server     = "churn-mlflow"
      roles = {
        training     = "churn--training"
        mlflow       = "churn--mlflow"
        environments = { production = { serving = "churn--production--serving", schedule = "churn--production--schedule" } }
      }
    }
    bucket_arn           = "arn:aws:s3:::123456789012-churn-data"
    image_repository_arn = "arn:aws:ecr:eu-west-1:123456789012:repository/churn-image"
    tracking_server_size = "Huge"
  }

  expect_failures = [var.tracking_server_size]
}

run "identities_for_everybody" {
  command = plan

  module {
    source = "./modules/identities"
  }

  variables {
    project = {
      account             = "123456789012"
      region              = "eu-west-1"
      name                = "churn"
      prefix              = "churn--"
      environments        = { production = "churn--production" }
      last_environment    = "production"
      online              = true
      batch               = true
      private_network     = false
      model_package_group = "churn"
      tracking_server     = "churn-mlflow"
      settings_parameter  = "/ml/churn/settings"
      roles = {
        training     = "churn--training"
        plan         = "churn--ci-plan"
        train        = "churn--ci-train"
        environments = { production = { apply = "a", deploy = "b", serving = "c", schedule = "d" } }
      }
    }
    artifacts     = ["models/a*"]
    issuer        = "https://gitlab.com/"
    create_issuer = true
    trust = {
      plan                = { audience = "a", subjects = ["*"] }
      train               = { audience = "a", subjects = [] }
      "apply/production"  = { audience = "a", subjects = ["repo:*"] }
      "deploy/production" = { audience = "a", subjects = ["repo:x"] }
    }
    buckets              = { state = "arn:aws:s3:::state", data = "arn:aws:s3:::data" }
    image_repository_arn = "arn:aws:ecr:eu-west-1:123456789012:repository/churn-image"
    tracking_actions     = []
  }

  expect_failures = [var.issuer, var.trust]
}

run "cost" {
  module {
    source = "./modules/cost"
  }

  variables {
    name          = "churn"
    project       = "churn"
    monthly_limit = 100
  }

  assert {
    condition     = aws_budgets_budget.this.limit_amount == "100.0"
    error_message = "AWS writes the limit so."
  }
}

run "cost_without_a_limit" {
  command = plan

  module {
    source = "./modules/cost"
  }

  variables {
    name          = "churn"
    project       = "churn"
    monthly_limit = 0
  }

  expect_failures = [var.monthly_limit]
}

run "monitoring" {
  module {
    source = "./modules/monitoring"
  }

  variables {
    name                 = "churn--production"
    online               = true
    batch                = true
    log_days             = 30
    latency_milliseconds = 500
    error_percent        = 1
  }

  assert {
    condition     = output.canary_alarms == ["churn--production--canary-errors", "churn--production--canary-latency"]
    error_message = "A deployment watches the canary's alarms."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.latency["stable"].threshold == 500000
    error_message = "SageMaker measures in microseconds."
  }
}

run "monitoring_of_scoring_alone" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    name                 = "churn--production"
    online               = false
    batch                = true
    log_days             = 30
    latency_milliseconds = 500
    error_percent        = 1
  }

  assert {
    condition     = output.canary_alarms == [] && output.log_group == null
    error_message = "Without a service there is nothing of it to watch."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.scoring_failed[0].dimensions.PipelineName == "churn--production--score"
    error_message = "The pipeline that a deployment makes is watched."
  }
}

run "monitoring_with_wrong_numbers" {
  command = plan

  module {
    source = "./modules/monitoring"
  }

  variables {
    name                 = "churn--production"
    online               = true
    batch                = false
    log_days             = 31
    latency_milliseconds = 0
    error_percent        = 100
  }

  expect_failures = [var.log_days, var.latency_milliseconds, var.error_percent]
}

run "batch" {
  module {
    source = "./modules/batch"
  }

  variables {
    name         = "churn--production"
    pipeline_arn = "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/churn--production--score"
    role_arn     = "arn:aws:iam::123456789012:role/churn--production--schedule"
    schedule     = "cron(30 4 * * ? *)"
    timezone     = "UTC"
  }

  assert {
    condition     = aws_scheduler_schedule.score.state == "DISABLED"
    error_message = "Nothing is scored before there is a model."
  }
}

run "batch_with_a_wrong_schedule" {
  command = plan

  module {
    source = "./modules/batch"
  }

  variables {
    name         = "churn--production"
    pipeline_arn = "arn:aws:sagemaker:eu-west-1:123456789012:pipeline/churn--production--score"
    role_arn     = "arn:aws:iam::123456789012:role/churn--production--schedule"
    schedule     = "30 4 * * *"
    timezone     = "UTC"
  }

  expect_failures = [var.schedule]
}
