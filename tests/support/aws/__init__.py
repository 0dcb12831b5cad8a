"""AWS on this machine: an emulator that runs what SageMaker runs, a registry of images, an account."""
