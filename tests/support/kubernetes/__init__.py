"""Clusters for the tests: a real API server where there is one, and nodes whose containers are processes."""

from pathlib import Path


def pretending_service_file() -> Path:
    """Return the program that stands for a service."""
    return Path(__file__).parent / "pretending_service.py"
