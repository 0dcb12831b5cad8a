"""Fixtures of the tests of delivery."""

import pytest

from tests.engine.support.hosting import Host
from tests.engine.support.plugins import register


@pytest.fixture
def hosted(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return the code host of projects that are configured with host="stand_in"."""
    stand_in = Host()
    register(monkeypatch, "hosts", "stand_in", stand_in)
    return stand_in
