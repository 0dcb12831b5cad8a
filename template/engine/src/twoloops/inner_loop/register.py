"""A green model becomes a version in the registry, and the challenger."""

from __future__ import annotations

from typing import Any

from twoloops import artifact, config, lineage, registry
from twoloops.errors import ProjectError
from twoloops.inner_loop.evaluate import evaluation_files
from twoloops.inner_loop.refit import require_green
from twoloops.paths import paths
from twoloops.storage import read_json, write_json


def register() -> dict[str, Any]:
    """Register what is shipped of the judged model, once, and make it the challenger unless it is champion already.

    Returns:
        The version's number, its alias, and what else was written to reports/registration.json.

    Raises:
        ProjectError: the verdict is red, is about another model, or about another champion.
    """
    if not paths().shipped.exists():
        raise ProjectError(
            "There is nothing to ship yet.",
            hint="Run the verb 'refit'. dvc.yaml needs it as a step between evaluate and register.",
        )
    artifact.read(paths().shipped)
    identity = artifact.identity(paths().shipped)
    origin = read_json(paths().shipped / lineage.FILE, "refit")
    refitted = "refitted" in origin
    verdict = require_green(origin["refitted"]["judged_model"] if refitted else identity)
    version = registry.find_version(registry.IDENTITY, identity)
    champion = registry.find(registry.CHAMPION)
    crowned = bool(version and champion and version.number == champion.number)
    if not crowned and verdict["champion"] != (champion.number if champion else None):
        raise ProjectError(
            f"The model was compared with champion {verdict['champion'] or 'none'}, "
            f"but the champion is now {champion.number if champion else 'none'}.",
            hint="Run the verb 'evaluate' again: it compares with the champion of today.",
        )
    if version is None:
        folder = registry.REFITTED if refitted else registry.ARTIFACT
        if refitted:
            registry.add_files(verdict["run_id"], {paths().shipped: folder, **evaluation_files(folder)})
        version = registry.create_version(verdict["run_id"], _tags(verdict, identity, origin), folder)
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
        "identity": identity,
        "refitted": refitted,
        "registry": registry.place(),
    }
    write_json(paths().registration, result)
    return result


def _tags(verdict: dict[str, Any], identity: str, origin: dict[str, Any]) -> dict[str, str]:
    return {
        "verdict": verdict["verdict"],
        registry.IDENTITY: identity,
        registry.JUDGED: verdict["model"],
        registry.COMPARED_WITH: verdict["champion"] or registry.NONE,
        **{name: origin[name] for name in ("code_version", "train_version", "holdout_version")},
    }
