"""What is scored on a schedule, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twoloops import config, params
from twoloops.errors import ProjectError
from twoloops.platforms.shared.objects import ObjectStore


def find_source(model: Path, example: str) -> str:
    """Return what is scored; as long as the data is a file of this machine, what the model was trained on.

    Args:
        model: the artifact.
        example: a URL as this platform's object store has them.

    Raises:
        ProjectError: that is a file of this machine too.
    """
    checked = params.load()
    source = checked.score.source or checked.data.source
    if "://" not in source:
        lineage = json.loads((model / "lineage.json").read_text(encoding="utf-8"))
        source = lineage["params"]["data.source"]
    if "://" not in source:
        raise ProjectError(
            f"The platform cannot read {source}, which is a file of this machine.",
            hint=f"Let score.source in params.yaml name a URL, such as {example}",
        )
    return str(source)


def explain_nothing() -> ProjectError:
    """Return the error that tells people why nothing can be scored now."""
    return ProjectError(
        "No version scores on the platform.",
        hint=f"Make one champion: 'uv run {config.current().package} promote'. "
        "After a stop, name the champion: 'promote VERSION'.",
    )


def target_of(home: str) -> str:
    """Return the folder of the results in a project's place in the object store."""
    return f"{home}/predictions/{config.current().last}"


def read_results(store: ObjectStore, target: str) -> dict[str, Any]:
    """Return where the results are, and the run's summary.

    Args:
        store: the object store.
        target: the folder of the results.
    """
    return {"target": target, "summary": json.loads(store.read_bytes(f"{target}/summary.json"))}
