# This folder itself holds no resources: it is where `terraform test` finds the tests of all others.

terraform {
  required_version = ">= 1.11, < 2"

  required_providers {
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "~> 3.0"
    }
    helm = {
      source  = "hashicorp/helm"
      version = "~> 3.0"
    }
  }
}
