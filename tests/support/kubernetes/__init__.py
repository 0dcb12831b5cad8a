"""Clusters for the tests: a real API server where there is one, and nodes whose containers are processes."""
