"""The Terraform of projects on AWS: checked, tested with mocks, applied to an emulator of AWS's interface."""
