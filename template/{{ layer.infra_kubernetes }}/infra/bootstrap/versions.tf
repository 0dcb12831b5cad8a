terraform {
  required_version = ">= 1.11, < 2"

  required_providers {
    kubernetes = {
      source  = "hashicorp/kubernetes"
      version = "~> 3.0"
    }
  }

  backend "kubernetes" {
    secret_suffix = "bootstrap"
  }
}

# The login is that of the kubeconfig; where it goes, the project says.
provider "kubernetes" {
  host = module.project.cluster
}

module "project" {
  source = "../project"
}
