"""A green model becomes a version in the registry, and the challenger."""

from __future__ import annotations

from typing import Any

from .. import artifact, registry
from ..errors import ProjectError
from ..storage import MODEL, REGISTRATION, VERDICT, read_json, write_json
from .evaluate import GREEN, failed_rules


def register() -> dict[str, Any]:
    """Register the judged model, once; a second call returns the same version.

    Returns:
        The version's number and what was written to reports/registration.json.

    Raises:
        ProjectError: the verdict is red, is about another model, or about another champion.
    """
    verdict = read_json(VERDICT, "evaluate")
    artifact.read_manifest(MODEL)
    if verdict["model"] != artifact.identity(MODEL):
        raise ProjectError(
            "The verdict is about another model than the one in artifacts/model.", hint="Run the verb 'evaluate' again."
        )
    if verdict["verdict"] != GREEN:
        raise ProjectError(
            "The model's verdict is red, so it is not registered:\n"
            + "\n".join(f"  - {line}" for line in failed_rules(verdict)),
            hint="reports/model_card.md shows where it fails; improve the model or the data, then run again.",
        )
    version = registry.find_version("model_identity", verdict["model"])
    if version is None:
        champion = registry.find(registry.CHAMPION)
        if verdict["champion"] != (champion.number if champion else None):
            raise ProjectError(
                f"The model was compared with champion {verdict['champion'] or 'none'}, "
                f"but the champion is now {champion.number if champion else 'none'}.",
                hint="Run the verb 'evaluate' again: it compares with the champion of today.",
            )
        version = registry.create_version(verdict["run_id"], _tags(verdict))
    result = {"model": registry.NAME, "version": version.number, "run_id": version.run_id, "identity": verdict["model"]}
    write_json(REGISTRATION, result)
    return result


def _tags(verdict: dict[str, Any]) -> dict[str, str]:
    lineage = read_json(MODEL / "lineage.json", "train")
    return {
        "verdict": verdict["verdict"],
        "model_identity": verdict["model"],
        "compared_with": verdict["champion"] or "none",
        **{name: lineage[name] for name in ("code_version", "train_version", "holdout_version")},
    }
