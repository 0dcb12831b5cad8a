"""Where it runs: this machine. The only module that knows the infrastructure."""
