"""Kubernetes: its platform against a real API server, Terraform's files, the flows."""
