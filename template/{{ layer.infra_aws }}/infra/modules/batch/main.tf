# When tables are scored. The pipeline comes with a deployment, which then switches the schedule on.

resource "aws_scheduler_schedule_group" "this" {
  name = var.name
}

resource "aws_scheduler_schedule" "score" {
  name                         = "score"
  group_name                   = aws_scheduler_schedule_group.this.name
  description                  = "Scores the newest tables"
  schedule_expression          = var.schedule
  schedule_expression_timezone = var.timezone
  kms_key_arn                  = var.key_arn
  state                        = "DISABLED" # there is nothing to score with yet

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = var.pipeline_arn
    role_arn = var.role_arn

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 3
    }
  }

  lifecycle {
    ignore_changes = [state] # the deployment's
  }
}
