"""What a schedule scores, for a platform that reads no file of this machine."""

from __future__ import annotations

import json
from pathlib import Path

from twoloops import params
from twoloops.errors import ProjectError


def locate_source(model: Path) -> str:
    """Return what is scored; as long as the data is a file of this machine, what the model was trained on.

    Args:
        model: the artifact's folder.

    Raises:
        ProjectError: that too is a file of some machine.
    """
    checked = params.load()
    source = checked.score.source or checked.data.source
    if "://" not in source:
        lineage = json.loads((model / "lineage.json").read_text(encoding="utf-8"))
        source = lineage["params"]["data.source"]
    if "://" not in source:
        raise ProjectError(
            f"The platform cannot read {source}, which is a file of this machine.",
            hint="Let score.source in params.yaml name a URL, such as s3://BUCKET/data/...",
        )
    return str(source)
