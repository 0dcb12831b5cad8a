"""A new workspace: the policy, an overlay to start from, and what a platform team reads first."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from commands.answer_space import CASTS, RefusedError, Template
from commands.questions import asked, kind

from ..refusal import Refused, nearest
from . import overlay as rules
from .build import CHANGELOG, compile_tree, laid_out, read, read_template
from .document import ORGANIZATION as LAYER
from .document import data
from .git import Upstream
from .policy import FILE
from .trees import File, Tree, read_folder, write_folder

ORGANIZATION = f"{{{{ layer.{LAYER} }}}}"
FIRST = "1.0.0"

SECTIONS = {
    "organization": "Whose template it is.",
    "upstream": "The release that the template is built from; `organization upgrade` moves it.",
    "version": "The next release of your own template: raise it before you publish again.",
    "defaults": "Taken with Enter; a project may answer otherwise. A text is data; under jinja it follows other\n"
    '# answers:  contact: {jinja: "{{ owner | lower }}@example.com"}',
    "locks": "The same in every project: not asked, and refused when somebody tries.",
    "choices": "The answers that are left of a question:  ci_provider: [github, gitlab]",
    "questions": "Questions of your own, as Copier writes them; here texts are Jinja. Files of overlay/ use\n"
    "# the answers.",
    "layers": "Which projects get a folder of overlay/:  batch_only: serving_mode == 'batch'\n"
    "# puts overlay/{{ layer.batch_only }}/ into projects that only score tables.",
    "replaces": "Files of the upstream that overlay/ replaces, with the SHA-256 that was reviewed: `organization\n"
    "# build` says what to write.",
}
SETTINGS = {  # recorded in every project, and used by the files below
    "package_index": "From which index do packages come?",
    "registry": "Which registry holds images?",
    "naming_prefix": "How do the names of its resources begin?",
    "resource_tags": "Which tags do its resources bear?",
}
UV = """\
# Packages come from the organization's index. uv reads this file beside pyproject.toml.
[[index]]
name = "organization"
url = {{ package_index | to_json }}
default = true
"""
ROWS = {
    "registry": "| registry of images | `{{ registry }}/{{ package_name | replace('_', '-') }}` |",
    "naming_prefix": "| names of resources | `{{ naming_prefix }}{{ package_name | replace('_', '-') }}` |",
    "resource_tags": "| tags of resources | {{ resource_tags }} |",
    "package_index": "| index of packages | {{ package_index }}, by `uv.toml` |",
}
SECURITY = """\
# Security

Report a weakness to the owner of this project, {{ owner }}, by {{ contact }}. Do not open a public issue.

| what | who |
|---|---|
| owner | {{ owner }} |
| contact | {{ contact }} |
| a leaked secret | revoke it first, then write to the contact |
"""
READ_FIRST = """\
# The template of {name}

| path | what it is |
|---|---|
| `policy.yaml` | what the organization decides: locks, defaults, choices, questions of its own |
| `overlay/` | files that it adds, or puts in place of the upstream's |
| `CHANGELOG.md` | what each release means for the owner of a project |
| `build/` | the built template repository; made, and ignored by git here |

```bash
organization build      # build/ from policy, overlay and upstream
organization check      # every pair of answers that the policy allows
organization publish --remote URL
```

Run them in a clone of copier-mlops, as `uv run organization build FOLDER`. Its page `docs/organizations.md`
explains every step.
"""
NOTES = f"""\
# Changelog

What a release of this template means for the owner of a project.

## {FIRST}

The first release, built from copier-mlops {{version}}.
"""


@dataclass(frozen=True)
class Wishes:
    """What `init` was told. Values are texts, as they are typed."""

    name: str
    slug: str
    source: str
    version: str
    defaults: Mapping[str, str] = field(default_factory=dict)
    locks: Mapping[str, str] = field(default_factory=dict)
    allowed: Mapping[str, list[str]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)  # of SETTINGS
    questions: Mapping[str, str] = field(default_factory=dict)  # name: help
    files: Mapping[str, Path] = field(default_factory=dict)  # path in projects: file


def slug(name: str) -> str:
    """Return a name for files and repositories."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:39].rstrip("-") or "organization"


def start(folder: Path, wishes: Wishes) -> None:
    """Write a workspace that builds.

    Raises:
        Refused: the folder holds something, or the wishes do not go together with the upstream.
    """
    check_empty(folder)
    upstream = Upstream(wishes.source, folder)
    with laid_out(upstream.tree(wishes.version)) as released:
        policy = _policy(wishes, read_template(released))
    workspace = _workspace(wishes, policy)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".start-", dir=folder.parent) as name:
        new = Path(name) / folder.name
        new.mkdir()
        write_folder(workspace, new)
        compile_tree(read(new), upstream)
        if folder.exists():
            folder.rmdir()
        new.rename(folder)


def check_empty(folder: Path) -> None:
    """Refuse a folder that has something in it.

    Raises:
        Refused: it has.
    """
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise Refused(f"{folder} holds something, and is left as it is.", "Name a new folder.")


def _workspace(wishes: Wishes, policy: dict[str, Any]) -> Tree:
    texts = {
        FILE: _written(policy),
        CHANGELOG: NOTES.format(version=wishes.version),
        "README.md": READ_FIRST.format(name=wishes.name),
        ".gitignore": "/build/\n/.build-*/\n",
        f"{rules.FOLDER}/{ORGANIZATION}/SECURITY.md.jinja": SECURITY,
    }
    rules.check_names([f"{ORGANIZATION}/{path}" for path in wishes.files], [LAYER])
    rows = [ROWS[name] for name in ROWS if name in wishes.settings]
    if rows:
        table = "\n".join(["# The platform", "", "| what | here |", "|---|---|", *rows, ""])
        texts[f"{rules.FOLDER}/{ORGANIZATION}/docs/platform.md.jinja"] = table
    if "package_index" in wishes.settings:
        texts[f"{rules.FOLDER}/{ORGANIZATION}/uv.toml.jinja"] = UV
    tree = {path: File(text.encode()) for path, text in texts.items()}
    for path, source in wishes.files.items():
        if not source.is_file():
            raise Refused(f"The file for {path}, {source}, does not exist.", "Name a file.")
        tree[f"{rules.FOLDER}/{ORGANIZATION}/{path}"] = read_folder(source.parent)[source.name]
    return tree


def _policy(wishes: Wishes, template: Template) -> dict[str, Any]:
    known = asked(template)
    for names in (wishes.defaults, wishes.locks, wishes.allowed):
        for name in names:
            if name not in known:
                raise Refused(f"{name} is no question of the upstream.", nearest(name, known))

    def typed(name: str, text: str) -> Any:
        wanted = kind(known[name])
        try:
            return CASTS[wanted](text)
        except (TypeError, ValueError, RefusedError) as error:
            raise Refused(f"{name}={text} is no {wanted}.", "Write a value of that type.") from error

    allowed = {name: [typed(name, value) for value in values] for name, values in wishes.allowed.items()}
    return {
        "organization": {"name": wishes.name, "slug": wishes.slug},
        "upstream": {"source": wishes.source, "version": wishes.version},
        "version": FIRST,
        "defaults": {name: typed(name, value) for name, value in wishes.defaults.items()},
        "locks": {
            **{name: typed(name, value) for name, value in wishes.locks.items()},
            **{name: values[0] for name, values in allowed.items() if len(values) == 1},
        },
        "choices": {name: values for name, values in allowed.items() if len(values) > 1},
        "questions": {**_recorded(wishes.settings), **_asked(wishes.questions)},
        "layers": {},
        "replaces": {},
    }


def _recorded(settings: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"type": "str", "help": SETTINGS[name], "default": data(value), "ask": False}
        for name, value in settings.items()
    }


def _asked(questions: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"type": "str", "help": data(text), "default": ""} for name, text in questions.items()}


def _written(policy: dict[str, Any]) -> str:
    """Return the policy with a comment above each of its parts; what is empty shows how it would look."""
    parts = [
        "# What the organization decides about the template. After a change: organization build, check, publish.\n"
    ]
    for name, comment in SECTIONS.items():
        dumped = yaml.safe_dump({name: policy[name]}, sort_keys=False, allow_unicode=True, width=110)
        parts.append(f"# {comment}\n{dumped}")
    return "\n".join(parts)
