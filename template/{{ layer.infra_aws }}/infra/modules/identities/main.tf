# The identities of the flows: no keys, only tokens of the code host, each for one repository and one purpose.
#
#   plan                  reads what the environments consist of; any change of the code may take it
#   train                 builds the image, runs the inner loop, monitors; only the main branch
#   apply/ENVIRONMENT     changes the infrastructure of one environment
#   deploy/ENVIRONMENT    deploys models into one environment
#
# None of them may write anything in IAM, touch the network, or delete data: that is left to who runs bootstrap/.
# So none can give itself more rights, and a permissions boundary would have nothing to bound.

locals {
  scope = "${var.project.region}:${var.project.account}"
  names = merge(
    { plan = var.project.roles.plan, train = var.project.roles.train },
    { for name, roles in var.project.roles.environments : "apply/${name}" => roles.apply },
    { for name, roles in var.project.roles.environments : "deploy/${name}" => roles.deploy },
  )
  policies = merge(
    { plan = data.aws_iam_policy_document.plan.json, train = data.aws_iam_policy_document.train.json },
    { for name, policy in data.aws_iam_policy_document.apply : "apply/${name}" => policy.json },
    { for name, policy in data.aws_iam_policy_document.deploy : "deploy/${name}" => policy.json },
  )

  parameter       = "arn:aws:ssm:${local.scope}:parameter${var.project.settings_parameter}"
  tracking_server = "arn:aws:sagemaker:${local.scope}:mlflow-tracking-server/${var.project.tracking_server}"
  package_group   = "arn:aws:sagemaker:${local.scope}:model-package-group/${var.project.model_package_group}"
  packages        = "arn:aws:sagemaker:${local.scope}:model-package/${var.project.model_package_group}/*"
  jobs_logs       = "arn:aws:logs:${local.scope}:log-group:/aws/sagemaker/ProcessingJobs"

  # What a deployment asks of MLflow. Only the last environment's names a champion, and notes which one it followed.
  tracking = {
    read  = [for action in var.tracking_actions : action if can(regex(":(Get|List|Search)", action))]
    write = [for action in var.tracking_actions : action if can(regex("(ModelVersionTag|RegisteredModelAlias)$", action))]
  }

  # What an environment consists of, by environment. modules/monitoring and modules/batch give these names.
  environments = {
    for name, prefix in var.project.environments : name => {
      topic     = "arn:aws:sns:${local.scope}:${prefix}"
      alarms    = "arn:aws:cloudwatch:${local.scope}:alarm:${prefix}--*"
      dashboard = "arn:aws:cloudwatch::${var.project.account}:dashboard/${prefix}"
      logs      = "arn:aws:logs:${local.scope}:log-group:/aws/sagemaker/Endpoints/${prefix}"
      group     = "arn:aws:scheduler:${local.scope}:schedule-group/${prefix}"
      schedule  = "arn:aws:scheduler:${local.scope}:schedule/${prefix}/score"
      state     = "${var.buckets.state}/environments/${name}/environment.tfstate"
    }
  }
}

# ------------------------------------------------------------------ trust

resource "aws_iam_openid_connect_provider" "this" {
  count = var.create_issuer ? 1 : 0

  url            = "https://${var.issuer}"
  client_id_list = distinct([for trust in values(var.trust) : trust.audience])
}

data "aws_iam_policy_document" "trust" {
  #checkov:skip=CKV_AWS_358: the subjects are in ../../bootstrap/code_host.tf, each with its repository; a test looks at every one
  for_each = local.names

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = ["arn:aws:iam::${var.project.account}:oidc-provider/${var.issuer}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.issuer}:aud"
      values   = [var.trust[each.key].audience]
    }

    condition {
      test     = anytrue([for subject in var.trust[each.key].subjects : strcontains(subject, "*")]) ? "StringLike" : "StringEquals"
      variable = "${var.issuer}:sub"
      values   = var.trust[each.key].subjects
    }
  }
}

resource "aws_iam_role" "flows" {
  for_each = local.names

  name                 = each.value
  description          = "The flows' role ${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = startswith(each.key, "train") ? 21600 : 3600 # a training may take hours

  depends_on = [aws_iam_openid_connect_provider.this]
}

resource "aws_iam_role_policy" "flows" {
  for_each = local.names

  name   = "flow"
  role   = aws_iam_role.flows[each.key].id
  policy = local.policies[each.key]
}

# ------------------------------------------------------------------- plan

data "aws_iam_policy_document" "plan" {
  statement {
    sid     = "ReadEnvironments"
    actions = local.read.named
    resources = flatten([for each in values(local.environments) : [
      each.topic, each.alarms, each.dashboard, each.logs, "${each.logs}:*", each.group, each.schedule,
    ]])
  }

  statement {
    sid       = "ReadWhatHasNoResource"
    actions   = local.read.unnamed
    resources = ["*"]
  }

  statement {
    sid       = "ReadSettings"
    actions   = local.read.settings
    resources = [local.parameter]
  }

  statement {
    sid       = "ListStates"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.state]
  }

  statement {
    sid       = "ReadStates"
    actions   = ["s3:GetObject"]
    resources = [for each in values(local.environments) : each.state]
  }

  statement {
    sid       = "DecryptStates"
    actions   = ["kms:Decrypt", "kms:DescribeKey"]
    resources = [var.key_arn]
  }

  # What the check of a change reads of data/: ../../../engine/docs/flows.md.
  statement {
    sid       = "ListData"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.data]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${local.read_by_changes}/*"]
    }
  }

  statement {
    sid       = "ReadData"
    actions   = ["s3:GetObject"]
    resources = ["${var.buckets.data}/${local.read_by_changes}/*"]
  }
}

locals {
  read_by_changes = var.changes_read_data ? "data" : "data/sample"

  read = {
    named = [
      "cloudwatch:DescribeAlarms",
      "cloudwatch:GetDashboard",
      "cloudwatch:ListTagsForResource",
      "logs:ListTagsForResource",
      "scheduler:GetSchedule",
      "scheduler:GetScheduleGroup",
      "scheduler:ListTagsForResource",
      "sns:GetTopicAttributes",
      "sns:ListTagsForResource",
    ]
    unnamed  = ["logs:DescribeLogGroups", "sns:GetSubscriptionAttributes"]
    settings = ["ssm:GetParameter"]
  }
}

# ------------------------------------------------------------------ apply

data "aws_iam_policy_document" "apply" {
  for_each = local.environments

  statement {
    sid       = "ReadEnvironment"
    actions   = local.read.named
    resources = [each.value.topic, each.value.alarms, each.value.dashboard, each.value.logs, "${each.value.logs}:*", each.value.group, each.value.schedule]
  }

  statement {
    sid       = "ReadWhatHasNoResource"
    actions   = concat(local.read.unnamed, ["sns:Unsubscribe"])
    resources = ["*"]
  }

  statement {
    sid       = "ReadSettings"
    actions   = local.read.settings
    resources = [local.parameter]
  }

  # An environment is not destroyed while something is deployed in it.
  dynamic "statement" {
    for_each = var.project.online ? ["online"] : []

    content {
      sid       = "SeeEndpoint"
      actions   = ["sagemaker:DescribeEndpoint"]
      resources = ["arn:aws:sagemaker:${local.scope}:endpoint/${var.project.environments[each.key]}"]
    }
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid       = "SeeScoring"
      actions   = ["sagemaker:DescribePipeline"]
      resources = ["arn:aws:sagemaker:${local.scope}:pipeline/${var.project.environments[each.key]}--score"]
    }
  }

  statement {
    sid = "ChangeTopic"
    actions = [
      "sns:CreateTopic",
      "sns:DeleteTopic",
      "sns:SetTopicAttributes",
      "sns:Subscribe",
      "sns:TagResource",
      "sns:UntagResource",
    ]
    resources = [each.value.topic]
  }

  statement {
    sid = "ChangeAlarms"
    actions = [
      "cloudwatch:DeleteAlarms",
      "cloudwatch:PutMetricAlarm",
      "cloudwatch:TagResource",
      "cloudwatch:UntagResource",
    ]
    resources = [each.value.alarms]
  }

  statement {
    sid       = "ChangeDashboard"
    actions   = ["cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"]
    resources = [each.value.dashboard]
  }

  statement {
    sid = "ChangeLogs"
    actions = [
      "logs:AssociateKmsKey",
      "logs:CreateLogGroup",
      "logs:DeleteLogGroup",
      "logs:PutRetentionPolicy",
      "logs:TagResource",
      "logs:UntagResource",
    ]
    resources = [each.value.logs, "${each.value.logs}:*"]
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid = "ChangeSchedule"
      actions = [
        "scheduler:CreateSchedule",
        "scheduler:CreateScheduleGroup",
        "scheduler:DeleteSchedule",
        "scheduler:DeleteScheduleGroup",
        "scheduler:TagResource",
        "scheduler:UntagResource",
        "scheduler:UpdateSchedule",
      ]
      resources = [each.value.group, each.value.schedule]
    }
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid       = "GiveRoleToSchedule"
      actions   = ["iam:PassRole"]
      resources = ["arn:aws:iam::${var.project.account}:role/${var.project.roles.environments[each.key].schedule}"]

      condition {
        test     = "StringEquals"
        variable = "iam:PassedToService"
        values   = ["scheduler.amazonaws.com"]
      }
    }
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
    resources = [var.key_arn]
  }

  statement {
    sid       = "ListStates"
    actions   = ["s3:ListBucket"]
    resources = [var.buckets.state]
  }

  statement {
    sid       = "KeepState"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = [each.value.state, "${each.value.state}.tflock"]
  }

  statement {
    sid       = "ReleaseLock"
    actions   = ["s3:DeleteObject"]
    resources = ["${each.value.state}.tflock"]
  }
}

# ------------------------------------------------------------------ train

data "aws_iam_policy_document" "train" {
  statement {
    sid       = "ReadSettings"
    actions   = ["ssm:GetParameter"]
    resources = [local.parameter]
  }

  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid = "PushImage"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:CompleteLayerUpload",
      "ecr:DescribeImageScanFindings",
      "ecr:DescribeImages",
      "ecr:GetDownloadUrlForLayer",
      "ecr:InitiateLayerUpload",
      "ecr:PutImage",
      "ecr:UploadLayerPart",
    ]
    resources = [var.image_repository_arn]
  }

  statement {
    sid = "RunInnerLoop"
    actions = [
      "sagemaker:AddTags",
      "sagemaker:CreatePipeline",
      "sagemaker:DescribePipeline",
      "sagemaker:DescribePipelineExecution",
      "sagemaker:ListPipelineExecutionSteps",
      "sagemaker:ListPipelineExecutions",
      "sagemaker:StartPipelineExecution",
      "sagemaker:StopPipelineExecution",
      "sagemaker:UpdatePipeline",
    ]
    resources = [
      "arn:aws:sagemaker:${local.scope}:pipeline/${var.project.prefix}train",
      "arn:aws:sagemaker:${local.scope}:pipeline/${var.project.prefix}train/execution/*",
    ]
  }

  statement {
    sid       = "GiveRoleToPipeline"
    actions   = ["iam:PassRole"]
    resources = ["arn:aws:iam::${var.project.account}:role/${var.project.roles.training}"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }

  statement {
    sid       = "FindLogsOfSteps"
    actions   = ["logs:DescribeLogStreams"]
    resources = [local.jobs_logs, "${local.jobs_logs}:*"]
  }

  statement {
    sid       = "ReadLogsOfSteps"
    actions   = ["logs:GetLogEvents"]
    resources = ["${local.jobs_logs}:log-stream:pipelines-*"]
  }

  statement {
    sid       = "SeeModels"
    actions   = ["sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup"]
    resources = [local.package_group, local.packages]
  }

  statement {
    sid       = "Track"
    actions   = concat(["sagemaker:DescribeMlflowTrackingServer"], var.tracking_actions)
    resources = [local.tracking_server]
  }

  statement {
    sid       = "ListData"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket"]
    resources = [var.buckets.data]
  }

  statement {
    sid       = "KeepData"
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    resources = [for folder in ["data", "mlflow", "models/runs", "monitoring"] : "${var.buckets.data}/${folder}/*"]
  }

  statement {
    sid       = "MonitorWhatWasAskedAndAnswered"
    actions   = ["s3:GetObject"]
    resources = [for folder in ["captures", "predictions"] : "${var.buckets.data}/${folder}/*"]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
    resources = [var.key_arn]
  }
}

# ----------------------------------------------------------------- deploy

data "aws_iam_policy_document" "deploy" {
  for_each = var.project.environments

  statement {
    sid       = "ReadSettings"
    actions   = ["ssm:GetParameter"]
    resources = [local.parameter]
  }

  statement {
    sid       = "SeeImages"
    actions   = ["ecr:BatchGetImage", "ecr:DescribeImageScanFindings", "ecr:DescribeImages"]
    resources = [var.image_repository_arn]
  }

  dynamic "statement" {
    for_each = var.project.online ? ["online"] : []

    content {
      sid = "DeployEndpoint"
      actions = [
        "sagemaker:AddTags",
        "sagemaker:CreateEndpoint",
        "sagemaker:CreateEndpointConfig",
        "sagemaker:DeleteEndpoint",
        "sagemaker:DeleteEndpointConfig",
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
        "sagemaker:InvokeEndpoint",
        "sagemaker:ListTags",
        "sagemaker:UpdateEndpoint",
        "sagemaker:UpdateEndpointWeightsAndCapacities",
      ]
      resources = [
        "arn:aws:sagemaker:${local.scope}:endpoint/${each.value}",
        "arn:aws:sagemaker:${local.scope}:endpoint-config/${each.value}--*",
      ]
    }
  }

  dynamic "statement" {
    for_each = var.project.online ? ["online"] : []

    content {
      sid = "Scale"
      actions = [
        "application-autoscaling:DeleteScalingPolicy",
        "application-autoscaling:DeregisterScalableTarget",
        "application-autoscaling:PutScalingPolicy",
        "application-autoscaling:RegisterScalableTarget",
      ]
      resources = ["arn:aws:application-autoscaling:${local.scope}:scalable-target/*"] # AWS chooses the identifier

      condition {
        test     = "StringEquals"
        variable = "application-autoscaling:service-namespace"
        values   = ["sagemaker"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.project.online ? ["online"] : []

    content {
      sid = "SeeWhatHasNoResource"
      actions = [
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingPolicies",
        "cloudwatch:GetMetricData",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListModels",
      ]
      resources = ["*"]
    }
  }

  # What runs in the last environment is what a version is compared with in the others.
  dynamic "statement" {
    for_each = var.project.online ? ["online"] : []

    content {
      sid = "SeeOtherEnvironments"
      actions = [
        "sagemaker:DescribeEndpoint",
        "sagemaker:DescribeEndpointConfig",
        "sagemaker:DescribeModel",
        "sagemaker:ListTags",
      ]
      resources = flatten([for prefix in values(var.project.environments) : [
        "arn:aws:sagemaker:${local.scope}:endpoint/${prefix}",
        "arn:aws:sagemaker:${local.scope}:endpoint-config/${prefix}--*",
        "arn:aws:sagemaker:${local.scope}:model/${prefix}--*",
      ]])
    }
  }

  # The first scaling of an account makes this role. Nothing else can be made with it.
  dynamic "statement" {
    for_each = var.project.online ? ["online"] : []

    content {
      sid       = "LetAutoscalingIn"
      actions   = ["iam:CreateServiceLinkedRole"]
      resources = ["arn:aws:iam::${var.project.account}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"]

      condition {
        test     = "StringEquals"
        variable = "iam:AWSServiceName"
        values   = ["sagemaker.application-autoscaling.amazonaws.com"]
      }
    }
  }

  statement {
    sid       = "MakeModels"
    actions   = ["sagemaker:AddTags", "sagemaker:CreateModel", "sagemaker:DeleteModel", "sagemaker:DescribeModel"]
    resources = ["arn:aws:sagemaker:${local.scope}:model/${each.value}--*"]
  }

  dynamic "statement" {
    for_each = var.project.private_network ? ["private"] : []

    content {
      sid       = "OnlyInNetwork"
      effect    = "Deny"
      actions   = ["sagemaker:CreateModel"]
      resources = ["arn:aws:sagemaker:${local.scope}:model/${each.value}--*"]

      condition {
        test     = "Null"
        variable = "sagemaker:VpcSubnets"
        values   = ["true"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid = "DeployScoring"
      actions = [
        "sagemaker:AddTags",
        "sagemaker:CreatePipeline",
        "sagemaker:DeletePipeline",
        "sagemaker:DescribePipeline",
        "sagemaker:DescribePipelineExecution",
        "sagemaker:ListPipelineExecutionSteps",
        "sagemaker:ListPipelineExecutions",
        "sagemaker:StartPipelineExecution",
        "sagemaker:StopPipelineExecution",
        "sagemaker:UpdatePipeline",
      ]
      resources = [
        "arn:aws:sagemaker:${local.scope}:pipeline/${each.value}--score",
        "arn:aws:sagemaker:${local.scope}:pipeline/${each.value}--score/execution/*",
      ]
    }
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid       = "SwitchSchedule"
      actions   = ["scheduler:GetSchedule", "scheduler:UpdateSchedule"]
      resources = [local.environments[each.key].schedule]
    }
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid       = "GiveRoleToSchedule"
      actions   = ["iam:PassRole"]
      resources = ["arn:aws:iam::${var.project.account}:role/${var.project.roles.environments[each.key].schedule}"]

      condition {
        test     = "StringEquals"
        variable = "iam:PassedToService"
        values   = ["scheduler.amazonaws.com"]
      }
    }
  }

  statement {
    sid       = "GiveRoleToModels"
    actions   = ["iam:PassRole"]
    resources = ["arn:aws:iam::${var.project.account}:role/${var.project.roles.environments[each.key].serving}"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }

  statement {
    sid       = "SeeModelPackages"
    actions   = ["sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup"]
    resources = [local.package_group, local.packages]
  }

  # A package is approved, and a model is champion, where its version comes into use: after a human's approval.
  dynamic "statement" {
    for_each = each.key == var.project.last_environment ? ["last"] : []

    content {
      sid       = "ApproveModels"
      actions   = ["sagemaker:UpdateModelPackage"]
      resources = [local.packages]

      condition {
        test     = "StringEquals"
        variable = "sagemaker:ModelApprovalStatus"
        values   = ["Approved"]
      }
    }
  }

  statement {
    sid       = "Track"
    actions   = concat(["sagemaker:DescribeMlflowTrackingServer"], local.tracking.read, each.key == var.project.last_environment ? local.tracking.write : [])
    resources = [local.tracking_server]
  }

  statement {
    sid       = "WatchCanary"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = [for each in values(local.environments) : each.alarms]
  }

  statement {
    sid       = "ReadLogs"
    actions   = ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"]
    resources = ["${local.environments[each.key].logs}:log-stream:*", local.environments[each.key].logs]
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid       = "FindLogsOfScoring"
      actions   = ["logs:DescribeLogStreams"]
      resources = [local.jobs_logs, "${local.jobs_logs}:*"]
    }
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid       = "ReadLogsOfScoring"
      actions   = ["logs:GetLogEvents"]
      resources = ["${local.jobs_logs}:log-stream:pipelines-*"]
    }
  }

  statement {
    sid       = "ListData"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket"]
    resources = [var.buckets.data]
  }

  # The bucket lets nobody write over these: ../data.
  statement {
    sid       = "PutModels"
    actions   = ["s3:PutObject"]
    resources = [for form in var.artifacts : "${var.buckets.data}/${form}"]
  }

  # What was tried in an environment, its own deployments alone say; and what was champion, those of the last one.
  statement {
    sid     = "NoteOnce"
    actions = ["s3:PutObject"]
    resources = concat(
      ["${var.buckets.data}/records/trials/${each.key}/*"],
      each.key == var.project.last_environment ? ["${var.buckets.data}/records/champions/*"] : [],
    )
  }

  statement {
    sid     = "ReadArtifactsAndResults"
    actions = ["s3:GetObject"]
    resources = [
      "${var.buckets.data}/mlflow/*",
      "${var.buckets.data}/models/*",
      "${var.buckets.data}/records/*",
      "${var.buckets.data}/captures/${each.key}/*",
      "${var.buckets.data}/predictions/${each.key}/*",
    ]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
    resources = [var.key_arn]
  }
}
