# Where the provider checks the form of what AWS would answer, the mocks answer in that form.
mock_resource "aws_ecr_repository" {
  defaults = { arn = "arn:aws:ecr:eu-west-1:123456789012:repository/mock", repository_url = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/mock" }
}

mock_resource "aws_iam_role" {
  defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
}

mock_resource "aws_kms_key" {
  defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
}

mock_resource "aws_s3_bucket" {
  defaults = { arn = "arn:aws:s3:::mock" }
}

mock_resource "aws_sns_topic" {
  defaults = { arn = "arn:aws:sns:eu-west-1:123456789012:mock" }
}

mock_resource "aws_cloudwatch_log_group" {
  defaults = { arn = "arn:aws:logs:eu-west-1:123456789012:log-group:mock" }
}

mock_resource "aws_sagemaker_mlflow_tracking_server" {
  defaults = { arn = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/mock" }
}

mock_resource "aws_security_group" {
  defaults = { arn = "arn:aws:ec2:eu-west-1:123456789012:security-group/sg-0" }
}

mock_resource "aws_subnet" {
  defaults = { arn = "arn:aws:ec2:eu-west-1:123456789012:subnet/subnet-0" }
}

mock_data "aws_availability_zones" {
  defaults = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
}

mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012", arn = "arn:aws:sts::123456789012:assumed-role/administrator/somebody" }
}

mock_data "aws_iam_session_context" {
  defaults = { issuer_arn = "arn:aws:iam::123456789012:role/administrator" }
}

mock_data "aws_iam_principal_policy_simulation" {
  defaults = { all_allowed = true, results = [] }
}

mock_data "aws_servicequotas_service_quota" {
  defaults = { value = 10 }
}

mock_data "aws_iam_policy_document" {
  defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
}
