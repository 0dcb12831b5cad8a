"""What `contracts.platform.Infrastructure` asks for: Terraform on infra/, and what it leaves for the flows."""

from __future__ import annotations

from typing import Final

from twoloops.platforms.aws.deployed import deployed
from twoloops.platforms.aws.flows import SCRIPT, is_made, make, variables
from twoloops.platforms.aws.flows import names as variable_names
from twoloops.platforms.aws.terraform import apply, destroy, page, plan, saved
from twoloops.platforms.aws.terraform import told as describe

BOOTSTRAP: Final = SCRIPT
MARK: Final = "<!-- twoloops: plan of the infrastructure -->"

__all__ = [
    "BOOTSTRAP",
    "MARK",
    "apply",
    "deployed",
    "describe",
    "destroy",
    "is_made",
    "make",
    "page",
    "plan",
    "saved",
    "variable_names",
    "variables",
]
