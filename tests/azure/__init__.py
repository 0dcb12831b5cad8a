"""Projects on Azure: their files, and their Terraform on the provider's schemas."""
