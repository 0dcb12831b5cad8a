"""The verbs of batch scoring."""
