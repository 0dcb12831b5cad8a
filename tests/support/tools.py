"""Programs that tests run, and places that they use."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

UV = os.environ.get("UV", "uv")
# Set by .ci/run: there a missing tool is a failure, not a skip.
DEMANDED = os.environ.get("CI") == "true"

# A file system in memory, where the machine has one: for many small files, or large ones that are soon deleted.
MEMORY = Path("/dev/shm")  # noqa: S108


def need(tool: str) -> str:
    """Return the path of a program, or skip the test and say why; CI skips none."""
    found = shutil.which(tool)
    if found is None:
        if DEMANDED:
            pytest.fail(f"{tool} is not installed, and CI skips no test")
        pytest.skip(f"{tool} is not installed")
    return found
