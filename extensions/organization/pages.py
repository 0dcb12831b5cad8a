"""What the built repository says to people: its README, and the sections of changelogs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from packaging.version import Version

from .policy import Jinja, Policy

HEADING = re.compile(r"^## v?(\d+\.\d+\.\d+)\b.*$", re.MULTILINE)


def section(changelog: str, version: str) -> str:
    """Return what a changelog says of a version; nothing where it has no such section."""
    return sections(changelog).get(version, "")


def sections(changelog: str) -> dict[str, str]:
    """Return the sections of a changelog by version, in their order."""
    found = list(HEADING.finditer(changelog))
    ends = [match.start() for match in found[1:]] + [len(changelog)]
    return {match.group(1): changelog[match.end() : end].strip() for match, end in zip(found, ends, strict=True)}


def between(changelog: str, before: str, after: str) -> dict[str, str]:
    """Return the sections of the versions above `before`, up to `after`."""
    return {
        version: text
        for version, text in sections(changelog).items()
        if Version(before) < Version(version) <= Version(after)
    }


def readme(policy: Policy, offered: Mapping[str, Any], files: Iterable[str]) -> str:
    """Return the README of the built repository.

    Args:
        policy: what the organization decides.
        offered: the values that each question offers.
        files: where the files of the overlay end up in projects.
    """
    parts = [
        f"# {policy.organization.name}: machine-learning projects",
        f"A Copier template, release {policy.version}. It is built from copier-mlops {policy.upstream.version} and the "
        "policy of the organization:\nchange those, and nothing here by hand. `provenance.yaml` says what it was built "
        "from, `CHANGELOG.md` what a release\nmeans for a project.",
        "## Start a project",
        "```bash\nuvx copier copy URL-OF-THIS-REPOSITORY my-project\n```",
        "Git and [uv](https://docs.astral.sh/uv/) are needed, nothing else: the template runs no code.",
        "## Keep it up to date",
        "```bash\nuvx copier check-update\nuvx copier update --defaults\n```",
        *_table("## What is locked", "These answers are the same in every project, and are not asked.", policy.locks),
        *_table(
            "## What can be chosen",
            "Of these questions not every answer of the upstream is allowed.",
            {name: offered[name] for name in policy.choices},
        ),
        *_table("## Defaults", "Enter takes them; a project may answer otherwise.", policy.defaults),
        *_questions(policy),
        "## Files of the organization",
        "\n".join(f"- {code(path)}" for path in files) or "None.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(heading: str, text: str, rows: Mapping[str, Any]) -> list[str]:
    if not rows:
        return []
    table = "\n".join(f"| `{name}` | {_shown(value)} |" for name, value in rows.items())
    return [heading, text, f"| question | answer |\n|---|---|\n{table}"]


def _questions(policy: Policy) -> list[str]:
    if not policy.questions:
        return []
    helps = "\n".join(
        f"- `{name}`: {' '.join(str(settings.get('help', '')).split()) or 'recorded'}"
        for name, settings in policy.questions.items()
    )
    return ["## Questions of the organization", helps]


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return code(value.jinja if isinstance(value, Jinja) else value if isinstance(value, str) else json.dumps(value))


def code(text: str) -> str:
    """Return a text as code in Markdown, whatever stands in it."""
    line = json.dumps(text, ensure_ascii=False)[1:-1] if not text.isprintable() else text
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    space = " " if fence != "`" else ""
    return f"{fence}{space}{line}{space}{fence}".replace("|", "\\|")
