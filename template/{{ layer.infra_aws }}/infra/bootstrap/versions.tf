terraform {
  required_version = ">= 1.11, < 2"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  backend "s3" {
    key = "bootstrap.tfstate"
  }
}

provider "aws" {
  region              = module.project.region
  allowed_account_ids = [module.project.account]

  default_tags {
    tags = module.project.tags
  }
}

module "project" {
  source = "../project"
}
