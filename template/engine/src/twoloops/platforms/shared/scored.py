"""What is scored on a schedule."""

from __future__ import annotations

import json
from pathlib import Path

from twoloops import params
from twoloops.errors import ProjectError


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
