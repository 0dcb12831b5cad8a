"""Kubernetes: its platform against a real API server, Terraform's files, and the whole from a rendered project on."""
