# Who is told when the service fails or is slow, or scoring fails or cannot be started. Drift is the flow monitor's.
#
# A deployment watches the alarms of the variant canary, and takes the canary back when one of them rings.

locals {
  variants = var.online ? toset(var.variants) : toset([])
  metrics  = { for variant in local.variants : variant => { EndpointName = var.name, VariantName = variant } }
}

resource "aws_sns_topic" "alarms" {
  name              = var.name
  kms_master_key_id = var.key_arn
}

data "aws_iam_policy_document" "alarms" {
  statement {
    sid       = "OwnAlarms"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:aws:cloudwatch:${var.region}:${var.account}:alarm:${var.name}--*"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.alarms.json
}

resource "aws_sns_topic_subscription" "contact" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.contact
}

# SageMaker would make this group by itself, and keep the logs for ever.
resource "aws_cloudwatch_log_group" "endpoint" {
  count = var.online ? 1 : 0

  name              = "/aws/sagemaker/Endpoints/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = local.metrics

  alarm_name          = "${var.name}--${each.key}-errors"
  alarm_description   = "More than ${var.error_percent} % of the requests to ${each.key} fail. docs/runbooks.md says what to do."
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.error_percent
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching" # no requests, no errors
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  metric_query {
    id          = "share"
    label       = "Failed requests, %"
    expression  = "100 * failed / requests"
    return_data = true
  }

  metric_query {
    id = "failed"

    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocation5XXErrors"
      dimensions  = each.value
      period      = 300
      stat        = "Sum"
    }
  }

  metric_query {
    id = "requests"

    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocations"
      dimensions  = each.value
      period      = 300
      stat        = "Sum"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "latency" {
  for_each = local.metrics

  alarm_name          = "${var.name}--${each.key}-latency"
  alarm_description   = "One in a hundred answers of ${each.key} takes longer than ${var.latency_milliseconds} ms. docs/runbooks.md says what to do."
  namespace           = "AWS/SageMaker"
  metric_name         = "ModelLatency" # in microseconds
  dimensions          = each.value
  extended_statistic  = "p99"
  period              = 300
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.latency_milliseconds * 1000
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_cloudwatch_metric_alarm" "scoring_failed" {
  count = var.batch ? 1 : 0

  alarm_name          = "${var.name}--scoring-failed"
  alarm_description   = "A run of scoring has failed: predictions are old or missing. docs/runbooks.md says what to do."
  namespace           = "AWS/Sagemaker/ModelBuildingPipeline"
  metric_name         = "ExecutionFailed"
  dimensions          = { PipelineName = "${var.name}--score" }
  statistic           = "Sum"
  period              = 300
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

# What the scheduler could not start at all.
resource "aws_cloudwatch_metric_alarm" "scoring" {
  count = var.batch ? 1 : 0

  alarm_name          = "${var.name}--scoring-not-started"
  alarm_description   = "The schedule could not start scoring. docs/runbooks.md says what to do."
  namespace           = "AWS/Scheduler"
  metric_name         = "TargetErrorCount"
  dimensions          = { ScheduleGroup = var.name }
  statistic           = "Sum"
  period              = 300
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}

locals {
  widgets = [
    for widget in [
      { title = "Requests", stat = "Sum", metric = "Invocations" },
      { title = "Failed requests", stat = "Sum", metric = "Invocation5XXErrors" },
      { title = "Refused requests", stat = "Sum", metric = "Invocation4XXErrors" },
      { title = "Time of an answer, 99th percentile, microseconds", stat = "p99", metric = "ModelLatency" },
    ] : widget if var.online
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = concat(
      [for number, widget in local.widgets : {
        type   = "metric"
        x      = number % 2 * 12
        y      = floor(number / 2) * 6
        width  = 12
        height = 6
        properties = {
          title   = widget.title
          region  = var.region
          stat    = widget.stat
          period  = 300
          metrics = [for variant in var.variants : ["AWS/SageMaker", widget.metric, "EndpointName", var.name, "VariantName", variant]]
        }
      }],
      [for widget in var.batch ? ["scoring"] : [] : {
        type   = "metric"
        x      = 0
        y      = 12
        width  = 12
        height = 6
        properties = {
          title   = "Scoring: started, and not started"
          region  = var.region
          stat    = "Sum"
          period  = 3600
          metrics = [for metric in ["InvocationAttemptCount", "TargetErrorCount"] : ["AWS/Scheduler", metric, "ScheduleGroup", var.name]]
        }
      }],
    )
  })
}
