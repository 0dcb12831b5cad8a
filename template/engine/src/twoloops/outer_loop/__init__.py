"""Deployment: promote a registered model, and predict with it."""
