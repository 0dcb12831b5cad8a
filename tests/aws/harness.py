"""Where the harness was; it has moved to tests/support/aws."""

from tests.support.aws.harness import (
    ASKED,
    EVERYTHING,
    INFRASTRUCTURE,
    Terraform,
    client,
    demand_providers,
    emulator,
    options,
    tell,
)

__all__ = [
    "ASKED",
    "EVERYTHING",
    "INFRASTRUCTURE",
    "Terraform",
    "client",
    "demand_providers",
    "emulator",
    "options",
    "tell",
]
