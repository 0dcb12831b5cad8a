"""From data to a model in production: the inner loop, the outer loop and the command that runs both."""
