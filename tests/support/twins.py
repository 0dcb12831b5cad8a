"""Which of a test's parameters releases take, and ordinary CI does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def twins(values: Iterable[Any]) -> list[Any]:
    """Return parameters marked `twin`: a test beside each shows the same already, for another answer."""
    return [pytest.param(value, marks=pytest.mark.twin) for value in values]
