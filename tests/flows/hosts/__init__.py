"""The code hosts on which the flows are run: one adapter each, all asked in the same words."""

from __future__ import annotations

from .azure_devops import AzureDevOpsHost
from .base import BY_HAND, PUSH, SCHEDULE, CodeHost, Outcome
from .github import GitHubHost
from .gitlab import GitLabHost

HOSTS: dict[str, type[CodeHost]] = {host.NAME: host for host in (GitHubHost, GitLabHost, AzureDevOpsHost)}

__all__ = ["BY_HAND", "HOSTS", "PUSH", "SCHEDULE", "CodeHost", "Outcome"]
