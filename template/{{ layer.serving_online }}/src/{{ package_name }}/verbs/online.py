"""The verbs of the online service."""
