# What SageMaker works with: the registry of models, the roles of jobs and services, and the MLflow server.
#
# Pipelines, models and endpoints are not here. A deployment makes them, several times a day perhaps, and moves
# traffic between them: Terraform would undo that with its next apply. For the same reason the deployment
# registers an endpoint's autoscaling, which needs the variant that it has just made.

locals {
  arn = {
    sagemaker       = "arn:aws:sagemaker:${var.project.region}:${var.project.account}"
    logs            = "arn:aws:logs:${var.project.region}:${var.project.account}:log-group"
    tracking_server = "arn:aws:sagemaker:${var.project.region}:${var.project.account}:mlflow-tracking-server/${var.project.tracking_server}"
    packages = [
      "arn:aws:sagemaker:${var.project.region}:${var.project.account}:model-package-group/${var.project.model_package_group}",
      "arn:aws:sagemaker:${var.project.region}:${var.project.account}:model-package/${var.project.model_package_group}/*",
    ]
  }

  # SageMaker chooses the names of a pipeline's jobs.
  jobs = [for kind in ["processing-job", "training-job", "transform-job"] : "${local.arn.sagemaker}:${kind}/pipelines-*"]
}

resource "aws_sagemaker_model_package_group" "this" {
  model_package_group_name        = var.project.model_package_group
  model_package_group_description = "Registered models, each with its verdict and its card"
}

# ------------------------------------------------------------------ trust

data "aws_iam_policy_document" "sagemaker" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["sagemaker.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.project.account]
    }
  }
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.project.account]
    }
  }
}

# ------------------------------------------------- what every job and service may

data "aws_iam_policy_document" "container" {
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "PullImage"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = [var.image_repository_arn]
  }

  statement {
    sid       = "WriteLogs"
    actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = ["${local.arn.logs}:/aws/sagemaker/*"]
  }

  statement {
    sid       = "WriteMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs", "/aws/sagemaker/TransformJobs", "/aws/sagemaker/Endpoints"]
    }
  }

  statement {
    sid       = "FindBucket"
    actions   = ["s3:GetBucketLocation"]
    resources = [var.bucket_arn]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
    resources = [var.key_arn]
  }

  statement {
    sid       = "EncryptDisks"
    actions   = ["kms:CreateGrant"]
    resources = [var.key_arn]

    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }

  dynamic "statement" {
    for_each = var.network[*]

    content {
      sid     = "JoinNetwork"
      actions = ["ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"]
      resources = concat(statement.value.subnet_arns, [
        statement.value.security_group_arn,
        "arn:aws:ec2:${var.project.region}:${var.project.account}:network-interface/*",
      ])
    }
  }

  dynamic "statement" {
    for_each = var.network[*]

    content {
      sid       = "LendInterface"
      actions   = ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterfacePermission"]
      resources = ["arn:aws:ec2:${var.project.region}:${var.project.account}:network-interface/*"]

      condition {
        test     = "ArnEquals"
        variable = "ec2:Subnet"
        values   = statement.value.subnet_arns
      }
    }
  }

  dynamic "statement" {
    for_each = var.network[*]

    content {
      sid = "SeeNetwork"
      actions = [
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
      ]
      resources = ["*"]
    }
  }
}

# --------------------------------------------------------------- training

data "aws_iam_policy_document" "training" {
  source_policy_documents = [data.aws_iam_policy_document.container.json]

  statement {
    sid       = "ListData"
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["data/*", "models/*", "mlflow/*", "captures/*"]
    }
  }

  statement {
    sid       = "ReadData"
    actions   = ["s3:GetObject"]
    resources = ["${var.bucket_arn}/data/*", "${var.bucket_arn}/captures/*"]
  }

  statement {
    sid       = "ReadAndWriteModels"
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    resources = ["${var.bucket_arn}/models/*", "${var.bucket_arn}/mlflow/*"]
  }

  # The pipeline starts its own steps.
  statement {
    sid = "RunSteps"
    actions = [
      "sagemaker:AddTags",
      "sagemaker:CreateProcessingJob",
      "sagemaker:CreateTrainingJob",
      "sagemaker:DescribeProcessingJob",
      "sagemaker:DescribeTrainingJob",
      "sagemaker:StopProcessingJob",
      "sagemaker:StopTrainingJob",
    ]
    resources = local.jobs
  }

  dynamic "statement" {
    for_each = var.network[*]

    content {
      sid       = "OnlyInNetwork"
      effect    = "Deny"
      actions   = ["sagemaker:CreateProcessingJob", "sagemaker:CreateTrainingJob"]
      resources = local.jobs

      condition {
        test     = "Null"
        variable = "sagemaker:VpcSubnets"
        values   = ["true"]
      }
    }
  }

  statement {
    sid       = "BeItsJobs"
    actions   = ["iam:PassRole"]
    resources = ["arn:aws:iam::${var.project.account}:role/${var.project.roles.training}"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }

  # Not UpdateModelPackage, and none that is approved from the start: approving a model is the deployment's, after a human's approval.
  statement {
    sid       = "RegisterModels"
    actions   = ["sagemaker:CreateModelPackage"]
    resources = local.arn.packages

    condition {
      test     = "StringEquals"
      variable = "sagemaker:ModelApprovalStatus"
      values   = ["PendingManualApproval"]
    }
  }

  statement {
    sid       = "SeeModelPackages"
    actions   = ["sagemaker:DescribeModelPackage", "sagemaker:DescribeModelPackageGroup"]
    resources = local.arn.packages
  }

  statement {
    sid       = "FindTrackingServer"
    actions   = ["sagemaker:DescribeMlflowTrackingServer"]
    resources = [local.arn.tracking_server]
  }

  statement {
    sid       = "Track"
    actions   = local.tracking_actions
    resources = [local.arn.tracking_server]
  }
}

locals {
  # Runs, metrics, artifacts, model versions and aliases; nothing that deletes a run or a model.
  tracking_actions = [
    "sagemaker-mlflow:CreateExperiment",
    "sagemaker-mlflow:CreateModelVersion",
    "sagemaker-mlflow:CreateRegisteredModel",
    "sagemaker-mlflow:CreateRun",
    "sagemaker-mlflow:DeleteRegisteredModelAlias",
    "sagemaker-mlflow:GetDownloadURIForModelVersionArtifacts",
    "sagemaker-mlflow:GetExperiment",
    "sagemaker-mlflow:GetExperimentByName",
    "sagemaker-mlflow:GetLatestModelVersions",
    "sagemaker-mlflow:GetMetricHistory",
    "sagemaker-mlflow:GetModelVersion",
    "sagemaker-mlflow:GetModelVersionByAlias",
    "sagemaker-mlflow:GetRegisteredModel",
    "sagemaker-mlflow:GetRun",
    "sagemaker-mlflow:ListArtifacts",
    "sagemaker-mlflow:LogBatch",
    "sagemaker-mlflow:LogInputs",
    "sagemaker-mlflow:LogMetric",
    "sagemaker-mlflow:LogModel",
    "sagemaker-mlflow:LogParam",
    "sagemaker-mlflow:SearchExperiments",
    "sagemaker-mlflow:SearchModelVersions",
    "sagemaker-mlflow:SearchRegisteredModels",
    "sagemaker-mlflow:SearchRuns",
    "sagemaker-mlflow:SetExperimentTag",
    "sagemaker-mlflow:SetModelVersionTag",
    "sagemaker-mlflow:SetRegisteredModelAlias",
    "sagemaker-mlflow:SetRegisteredModelTag",
    "sagemaker-mlflow:SetTag",
    "sagemaker-mlflow:UpdateModelVersion",
    "sagemaker-mlflow:UpdateRegisteredModel",
    "sagemaker-mlflow:UpdateRun",
  ]
}

resource "aws_iam_role" "training" {
  name               = var.project.roles.training
  description        = "The inner loop: the pipeline and its jobs"
  assume_role_policy = data.aws_iam_policy_document.sagemaker.json
}

resource "aws_iam_role_policy" "training" {
  name   = "train"
  role   = aws_iam_role.training.id
  policy = data.aws_iam_policy_document.training.json
}

# ---------------------------------------------------------------- serving

data "aws_iam_policy_document" "serving" {
  for_each = var.project.environments

  source_policy_documents = [data.aws_iam_policy_document.container.json]

  statement {
    sid       = "ListOwn"
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["data/*", "models/*", "captures/${each.key}/*", "predictions/${each.key}/*"]
    }
  }

  statement {
    sid       = "ReadModels"
    actions   = ["s3:GetObject"]
    resources = concat(["${var.bucket_arn}/models/*"], var.project.batch ? ["${var.bucket_arn}/data/*"] : [])
  }

  statement {
    sid       = "WriteWhatWasAskedAndAnswered"
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    resources = [for folder in ["captures", "predictions"] : "${var.bucket_arn}/${folder}/${each.key}/*"]
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid = "RunScoring"
      actions = [
        "sagemaker:AddTags",
        "sagemaker:CreateProcessingJob",
        "sagemaker:CreateTransformJob",
        "sagemaker:DescribeProcessingJob",
        "sagemaker:DescribeTransformJob",
        "sagemaker:StopProcessingJob",
        "sagemaker:StopTransformJob",
      ]
      resources = local.jobs
    }
  }

  dynamic "statement" {
    for_each = var.project.batch ? ["batch"] : []

    content {
      sid       = "BeItsJobs"
      actions   = ["iam:PassRole"]
      resources = ["arn:aws:iam::${var.project.account}:role/${var.project.roles.environments[each.key].serving}"]

      condition {
        test     = "StringEquals"
        variable = "iam:PassedToService"
        values   = ["sagemaker.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_role" "serving" {
  for_each = var.project.environments

  name               = var.project.roles.environments[each.key].serving
  description        = "What runs in ${each.key}: the endpoint and scoring"
  assume_role_policy = data.aws_iam_policy_document.sagemaker.json
}

resource "aws_iam_role_policy" "serving" {
  for_each = var.project.environments

  name   = "serve"
  role   = aws_iam_role.serving[each.key].id
  policy = data.aws_iam_policy_document.serving[each.key].json
}

# --------------------------------------------------------------- schedule

data "aws_iam_policy_document" "schedule" {
  for_each = var.project.batch ? var.project.environments : {}

  statement {
    sid       = "StartScoring"
    actions   = ["sagemaker:StartPipelineExecution"]
    resources = ["${local.arn.sagemaker}:pipeline/${each.value}--score"]
  }

  statement {
    sid       = "ReadSchedule"
    actions   = ["kms:Decrypt"]
    resources = [var.key_arn]
  }
}

resource "aws_iam_role" "schedule" {
  for_each = var.project.batch ? var.project.environments : {}

  name               = var.project.roles.environments[each.key].schedule
  description        = "Starts scoring in ${each.key}"
  assume_role_policy = data.aws_iam_policy_document.scheduler.json
}

resource "aws_iam_role_policy" "schedule" {
  for_each = var.project.batch ? var.project.environments : {}

  name   = "start"
  role   = aws_iam_role.schedule[each.key].id
  policy = data.aws_iam_policy_document.schedule[each.key].json
}

# ----------------------------------------------------------------- MLflow

data "aws_iam_policy_document" "mlflow" {
  statement {
    sid       = "ListArtifacts"
    actions   = ["s3:ListBucket", "s3:GetBucketLocation"]
    resources = [var.bucket_arn]
  }

  statement {
    sid       = "KeepArtifacts"
    actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    resources = ["${var.bucket_arn}/mlflow/*"]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.key_arn]
  }
}

resource "aws_iam_role" "mlflow" {
  count = var.tracking_server_size == null ? 0 : 1

  name               = var.project.roles.mlflow
  description        = "The MLflow server, which keeps artifacts in the bucket"
  assume_role_policy = data.aws_iam_policy_document.sagemaker.json
}

resource "aws_iam_role_policy" "mlflow" {
  count = var.tracking_server_size == null ? 0 : 1

  name   = "keep"
  role   = aws_iam_role.mlflow[0].id
  policy = data.aws_iam_policy_document.mlflow.json
}

resource "aws_sagemaker_mlflow_tracking_server" "this" {
  count = var.tracking_server_size == null ? 0 : 1

  tracking_server_name         = var.project.tracking_server
  tracking_server_size         = var.tracking_server_size
  artifact_store_uri           = "s3://${element(split(":::", var.bucket_arn), 1)}/mlflow"
  role_arn                     = aws_iam_role.mlflow[0].arn
  automatic_model_registration = false # a model is registered with its verdict, by the project's verb

  depends_on = [aws_iam_role_policy.mlflow]
}
