# A network with no way out: no internet gateway, no NAT. Jobs and services reach AWS alone, by endpoints.

locals {
  # What a job or a service of SageMaker talks to.
  services = {
    api        = "com.amazonaws.${var.region}.sagemaker.api"
    runtime    = "com.amazonaws.${var.region}.sagemaker.runtime"
    mlflow     = "aws.sagemaker.${var.region}.experiments"
    ecr        = "com.amazonaws.${var.region}.ecr.api"
    images     = "com.amazonaws.${var.region}.ecr.dkr"
    logs       = "com.amazonaws.${var.region}.logs"
    monitoring = "com.amazonaws.${var.region}.monitoring"
    sts        = "com.amazonaws.${var.region}.sts"
    kms        = "com.amazonaws.${var.region}.kms"
  }
}

data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394: a new zone changes nothing, because the subnets ignore it
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"] # no local zones, which have few services
  }
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true # the endpoints answer to the services' usual names
  enable_dns_support   = true

  tags = { Name = var.name }
}

# Without rules: what is in nobody's group reaches nothing.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "this" {
  count = var.zones

  vpc_id            = aws_vpc.this.id
  cidr_block        = cidrsubnet(var.cidr, 2, count.index)
  availability_zone = data.aws_availability_zones.available.names[count.index]

  tags = { Name = "${var.name}-${count.index}" }

  lifecycle {
    ignore_changes = [availability_zone] # a zone that AWS adds must not move the others
  }
}

resource "aws_route_table" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

resource "aws_route_table_association" "this" {
  count = var.zones

  subnet_id      = aws_subnet.this[count.index].id
  route_table_id = aws_route_table.this.id
}

resource "aws_security_group" "jobs" {
  #checkov:skip=CKV2_AWS_5: SageMaker attaches it to the jobs and services that deployments make
  name        = "${var.name}-jobs"
  description = "Jobs and services of SageMaker"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Endpoints of the AWS services"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_egress_rule" "jobs_to_endpoints" {
  security_group_id            = aws_security_group.jobs.id
  referenced_security_group_id = aws_security_group.endpoints.id
  description                  = "AWS services"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "jobs_to_objects" {
  security_group_id = aws_security_group.jobs.id
  prefix_list_id    = aws_vpc_endpoint.objects.prefix_list_id
  description       = "S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# The instances of one distributed job talk to each other on any port.
resource "aws_vpc_security_group_egress_rule" "jobs_to_jobs" {
  security_group_id            = aws_security_group.jobs.id
  referenced_security_group_id = aws_security_group.jobs.id
  description                  = "Other instances of the same job"
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_ingress_rule" "jobs_from_jobs" {
  security_group_id            = aws_security_group.jobs.id
  referenced_security_group_id = aws_security_group.jobs.id
  description                  = "Other instances of the same job"
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_ingress_rule" "endpoints_from_jobs" {
  security_group_id            = aws_security_group.endpoints.id
  referenced_security_group_id = aws_security_group.jobs.id
  description                  = "Jobs and services of SageMaker"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

# Only this account's identities: data cannot leave with somebody else's keys.
data "aws_iam_policy_document" "services" {
  #checkov:skip=CKV_AWS_49: this is what may pass through an endpoint; what an identity may do is in its own policy
  #checkov:skip=CKV_AWS_1: as above
  statement {
    sid       = "OwnIdentities"
    actions   = ["*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [var.account]
    }
  }
}

resource "aws_vpc_endpoint" "services" {
  for_each = local.services

  vpc_id              = aws_vpc.this.id
  service_name        = each.value
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = aws_subnet.this[*].id
  security_group_ids  = [aws_security_group.endpoints.id]
  policy              = data.aws_iam_policy_document.services.json

  tags = { Name = "${var.name}-${each.key}" }
}

data "aws_iam_policy_document" "objects" {
  statement {
    sid       = "OwnBuckets"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket", "s3:GetBucketLocation", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    resources = ["arn:aws:s3:::${var.account}-*"]

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceAccount"
      values   = [var.account]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [var.account]
    }
  }

  statement {
    sid       = "LayersOfImages" # https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html
    actions   = ["s3:GetObject"]
    resources = ["arn:aws:s3:::prod-${var.region}-starport-layer-bucket/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }
  }
}

resource "aws_vpc_endpoint" "objects" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.this.id]
  policy            = data.aws_iam_policy_document.objects.json

  tags = { Name = "${var.name}-objects" }
}

resource "aws_cloudwatch_log_group" "flows" {
  name              = "/aws/vpc/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

data "aws_iam_policy_document" "flows_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [var.account]
    }
  }
}

data "aws_iam_policy_document" "flows" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = ["${aws_cloudwatch_log_group.flows.arn}:*"]
  }
}

resource "aws_iam_role" "flows" {
  name               = "${var.name}-flow-logs"
  description        = "Writes the network's flow logs"
  assume_role_policy = data.aws_iam_policy_document.flows_trust.json
}

resource "aws_iam_role_policy" "flows" {
  name   = "write"
  role   = aws_iam_role.flows.id
  policy = data.aws_iam_policy_document.flows.json
}

resource "aws_flow_log" "this" {
  vpc_id          = aws_vpc.this.id
  traffic_type    = "REJECT" # what somebody tried in vain; the traffic that is allowed goes to AWS alone
  log_destination = aws_cloudwatch_log_group.flows.arn
  iam_role_arn    = aws_iam_role.flows.arn
}
