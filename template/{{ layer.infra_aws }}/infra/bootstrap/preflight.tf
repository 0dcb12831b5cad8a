# Asked before anything is made: may who runs this do what bootstrap does, and does the account allow what follows?
# `-var preflight=false` leaves it out, for who may not ask (iam:SimulatePrincipalPolicy, servicequotas:GetServiceQuota).

locals {
  # One action of each kind: who may do these and lacks another one learns it from the apply, which can be repeated.
  needed_actions = concat([
    "budgets:ModifyBudget",
    "ecr:CreateRepository",
    "iam:CreateOpenIDConnectProvider",
    "iam:CreateRole",
    "iam:PassRole",
    "iam:PutRolePolicy",
    "kms:CreateKey",
    "kms:PutKeyPolicy",
    "s3:CreateBucket",
    "s3:PutBucketPolicy",
    "s3:PutEncryptionConfiguration",
    "s3:PutLifecycleConfiguration",
    "sagemaker:CreateModelPackageGroup",
    "ssm:PutParameter",
    ],
    var.tracking_server_size == null ? [] : ["sagemaker:CreateMlflowTrackingServer"],
    module.project.private_network ? ["ec2:CreateVpc", "ec2:CreateVpcEndpoint", "logs:CreateLogGroup"] : [],
  )

  # SageMaker gives new accounts none of some of these. Names as the console of Service Quotas shows them.
  needed_quotas = merge(
    { "ml.m5.large for processing job usage" = 1 },
    module.project.online ? { "ml.m5.large for endpoint usage" = 2 } : {}, # the version in use, and the canary
  )
}

data "aws_caller_identity" "current" {
  count = var.preflight ? 1 : 0
}

# Who is behind the session.
data "aws_iam_session_context" "current" {
  count = var.preflight ? 1 : 0

  arn = data.aws_caller_identity.current[0].arn
}

data "aws_iam_principal_policy_simulation" "current" {
  count = var.preflight ? 1 : 0

  policy_source_arn = data.aws_iam_session_context.current[0].issuer_arn
  action_names      = local.needed_actions

  lifecycle {
    postcondition {
      condition = self.all_allowed
      error_message = join(" ", [
        "${data.aws_iam_session_context.current[0].issuer_arn} lacks permissions:",
        join(", ", sort([for result in self.results : result.action_name if !result.allowed])),
        "- nothing has been made. Ask an administrator of the account for them, or to run this.",
      ])
    }
  }
}

data "aws_servicequotas_service_quota" "needed" {
  for_each = var.preflight ? local.needed_quotas : {}

  service_code = "sagemaker"
  quota_name   = each.key

  lifecycle {
    postcondition {
      condition = self.value >= each.value
      error_message = join(" ", [
        "The quota '${each.key}' of SageMaker is ${self.value}, and ${each.value} are needed; nothing has been made.",
        "Request an increase in the console of Service Quotas, region ${module.project.region}.",
      ])
    }
  }
}
