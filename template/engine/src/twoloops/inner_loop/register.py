"""A green model becomes a version in the registry, and the challenger."""

from __future__ import annotations

from typing import Any

from twoloops import artifact, config, registry
from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import GREEN
from twoloops.inner_loop.rule import failed_rules
from twoloops.paths import paths
from twoloops.storage import read_json, write_json


def register() -> dict[str, Any]:
    """Register the judged model, once, and make it the challenger unless it is champion already.

    Returns:
        The version's number, its alias, and what else was written to reports/registration.json.

    Raises:
        ProjectError: the verdict is red, is about another model, or about another champion.
    """
    verdict = read_json(paths().verdict, "evaluate")
    artifact.read(paths().model)
    if verdict["model"] != artifact.identity(paths().model):
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
    champion = registry.find(registry.CHAMPION)
    crowned = bool(version and champion and version.number == champion.number)
    if not crowned and verdict["champion"] != (champion.number if champion else None):
        raise ProjectError(
            f"The model was compared with champion {verdict['champion'] or 'none'}, "
            f"but the champion is now {champion.number if champion else 'none'}.",
            hint="Run the verb 'evaluate' again: it compares with the champion of today.",
        )
    if version is None:
        version = registry.create_version(verdict["run_id"], _tags(verdict))
    elif not crowned:
        # Registered before, and judged again: `promote` asks whom it was compared with.
        registry.set_tag(version, registry.COMPARED_WITH, verdict["champion"] or registry.NONE)
    alias = registry.CHAMPION if crowned else registry.CHALLENGER
    registry.set_alias(alias, version)
    result = {
        "model": config.current().package,
        "version": version.number,
        "alias": alias,
        "run_id": version.run_id,
        "identity": verdict["model"],
        "registry": registry.place(),
    }
    write_json(paths().registration, result)
    return result


def _tags(verdict: dict[str, Any]) -> dict[str, str]:
    lineage = read_json(paths().model / "lineage.json", "train")
    return {
        "verdict": verdict["verdict"],
        "model_identity": verdict["model"],
        registry.COMPARED_WITH: verdict["champion"] or registry.NONE,
        **{name: lineage[name] for name in ("code_version", "train_version", "holdout_version")},
    }
