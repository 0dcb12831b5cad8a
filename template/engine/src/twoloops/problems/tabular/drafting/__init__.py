"""`draft`: from a real table to drafts of what the owner of a project writes.

profiling.py says what the table says, suspecting.py what that makes one suspect, deciding.py asks what nobody can
know and decides, writing.py makes code and pages of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from twoloops import config, params
from twoloops.errors import ProjectError
from twoloops.paths import paths
from twoloops.problems.tabular.drafting import deciding, profiling, writing


@dataclass(frozen=True)
class Draft:
    """What was drafted, and written.

    Attributes:
        plan: what was decided.
        written: the files that were written.
        removed: those of the simulator that were removed.
        kept: keys of params.yaml that somebody had set, and that were kept.
    """

    plan: deciding.Plan
    written: list[str]
    removed: list[str]
    kept: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        plan = self.plan
        return {
            "rows": plan.rows,
            "target": plan.target,
            "classes": list(plan.classes),
            "entity": plan.entity,
            "made_key": plan.made_key,
            "event_time": plan.event_time,
            "label_days": plan.label_days,
            "features": [each.name for each in plan.of("feature")],
            "personal": [each.name for each in plan.of("personal")],
            "left_out": {each.name: each.reason for each in plan.of("left out")},
            "suspicions": plan.suspicions,
            "slices": plan.slices,
            "groups": plan.groups,
            "written": self.written,
            "removed": self.removed,
            "kept": self.kept,
        }


def draft(source: str, ask: deciding.Ask, *, overwrite: bool) -> Draft:
    """Draft what a table tells, and write it into the current project.

    Args:
        source: the table: a path from the project's folder, or a URL.
        ask: answers what the table does not say.
        overwrite: whether files that somebody has edited are written too.

    Raises:
        ProjectError: the table cannot be read, an answer does not fit it, or files were edited; then nothing is
            written.
    """
    chosen = config.current()
    plan = deciding.decide(source, profiling.profile_table(source), chosen.problem, ask)
    texts = writing.render(plan, chosen.package)
    before = paths().params.read_text(encoding="utf-8")
    now = yaml.safe_load(before)
    changes = writing.choose_params(plan, now.get("gate", {}))
    kept: list[str] = []
    if not overwrite:
        changes, kept = writing.keep_what_was_set(changes, now, writing.read_answers(chosen.root))
    texts[writing.PARAMS] = params.edited(before, changes)
    params.check(yaml.safe_load(texts[writing.PARAMS]), writing.PARAMS)
    simulator = [path.format(package=chosen.package) for path in writing.SIMULATOR]
    gone = [path for path in simulator if (chosen.root / path).exists()]
    if not overwrite:
        code = {path: text for path, text in texts.items() if path != writing.PARAMS}
        edited = writing.find_edited(chosen, code, gone)
        if edited:
            listed = "\n".join(f"  - {path}" for path in edited)
            raise ProjectError(
                f"Nothing was written: these files are not as this release's template renders them.\n{listed}",
                hint="Commit them, then give --overwrite to replace them; 'git diff' shows what became of them.",
            )
    writing.write(chosen.root, texts, gone)
    return Draft(plan, list(texts), gone, kept)
