"""[tool.twoloops] alone, for tests that need a project's configuration and nothing else of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twoloops import config

from tests.engine.support.project import toml

TABLE: dict[str, Any] = {
    "package": "churn",
    "problem": "classification",
    "platform": "local",
    "host": "github",
    "owner": "ml-team",
    "serving": ["online"],
    "environments": ["staging", "production"],
}


def configure(folder: Path, **changes: Any) -> config.Config:
    """Write a project's configuration, with changes, into a folder, and return it checked."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / config.FILE).write_text(toml(config.TABLE, TABLE | changes), encoding="utf-8")
    return config.check(TABLE | changes, folder)
