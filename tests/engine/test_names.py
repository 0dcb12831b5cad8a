"""A platform knows no code host, a host no platform, and what serves each of them names none, in words either.

Imports are held by tests/engine/test_imports.py. A text, a variable or an address would bind them just as well.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import twoloops

ROOMS = Path(twoloops.__file__).parent
HOSTS = r"github|gitlab|azure.?devops|vstoken"
AWS = r"\baws\b|amazon|sagemaker|\bs3\b|cloudwatch"
AZURE = r"azure ?ml|azurerm|\babfss\b|\bentra\b|management\.azure"
KUBERNETES = r"kubernetes|kubectl|kserve"
CLOUDS = f"{AWS}|{AZURE}|{KUBERNETES}"
# What stands for any cloud as an example, and for nothing else.
EXAMPLES = ("such as s3://", "A URL (s3://")
SOURCE = "https://github.com/"  # where a fact is from


@pytest.mark.parametrize(
    ("room", "foreign"),
    [
        ("hosts", CLOUDS),
        ("platforms/shared", f"{CLOUDS}|{HOSTS}"),
        ("platforms/aws", f"{AZURE}|{KUBERNETES}|{HOSTS}"),
        ("platforms/azure", f"{AWS}|{KUBERNETES}|{HOSTS}"),
        ("platforms/kubernetes", f"{AZURE}|{HOSTS}"),
        ("platforms/local", f"{CLOUDS}|{HOSTS}"),
        ("contracts", CLOUDS),
        ("verbs", CLOUDS),
        ("delivery", CLOUDS),
        ("outer_loop", f"{CLOUDS}|{HOSTS}"),
        ("inner_loop", f"{CLOUDS}|{HOSTS}"),
        ("pipelines", HOSTS),
    ],
)
def test_a_room_names_no_foreign_one(room: str, foreign: str) -> None:
    files = sorted((ROOMS / room).rglob("*.py"))
    assert files, room
    found = [
        f"{path.relative_to(ROOMS)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(foreign, line, re.IGNORECASE) and not any(each in line for each in (*EXAMPLES, SOURCE))
    ]
    assert found == []
