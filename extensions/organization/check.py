"""Whether the built template may be published: every project that the policy allows, and the policy's laws."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from commands.answer_space import Template, UnsupportedError
from commands.questions import axes, combinations, covering, depends_on
from commands.rendering import clean_environment, render

from ..refusal import Refused
from .build import Workspace, compile_tree, laid_out, read_template, tree_of
from .files import problem
from .git import Upstream, git
from .policy import Jinja, Policy, Value
from .trees import File, Tree, read_folder, write_folder

CHECKED = "refs/organization/checked"  # the tree that passed: publish asks for it

# In what ruff prints: a project's number, the file, and what the linter says about it.
FOUND = re.compile(r"^(?:Would reformat: | *--> )?(\d+)/([^:\n]+)(?::\d+:\d+(?:: (.+))?)?$", re.MULTILINE)

Told = Callable[[str], None]


@dataclass(frozen=True)
class Checked:
    """How much was looked at."""

    projects: int
    files: int
    refusals: int


def verify(tree: Tree, workspace: Workspace, upstream: Upstream, told: Told) -> Checked:
    """Check a built tree.

    Args:
        tree: what was built.
        workspace: what it was built from.
        upstream: where its release comes from.
        told: is called with each step.

    Raises:
        Refused: it breaks a rule; the message names the answers and the file.
    """
    told("building it once more: every byte is the same")
    if compile_tree(workspace, upstream) != tree:
        raise Refused("The same inputs do not give this template.", "First: organization build")
    return laws(tree, upstream.tree(workspace.policy.upstream.version), workspace.policy, told)


def laws(tree: Tree, released: Tree, policy: Policy, told: Told) -> Checked:
    """Hold a template against a policy, whoever has built it.

    Args:
        tree: the template.
        released: the upstream's release.
        policy: what has to be true of the template.
        told: is called with each step.

    Raises:
        Refused: it breaks a rule; the message names the answers and the file.
    """
    with laid_out(tree) as folder, laid_out(released) as theirs:
        template, original = read_template(folder), read_template(theirs)
        rows = covering(template)
        files = _projects(template, rows, _forbidden(policy, original), told)
        told("Copier makes the same projects, and records every answer")
        for given in ({}, rows[-1]):
            _as_copier_does(template, given, policy)
        refusals = list(_refusals(policy, original))
        for name, value in refusals:
            told(f"refused by Copier: {name}={value}")
            _is_refused(folder, name, value)
    return Checked(len(rows), files, len(refusals))


def record(workspace: Workspace) -> None:
    """Write down that what lies in build/ has passed."""
    git(workspace.built, "update-ref", CHECKED, tree_of(workspace.built))


def passed(workspace: Workspace) -> bool:
    """Say whether what lies in build/ is what passed the check."""
    recorded = git(workspace.built, "for-each-ref", "--format=%(objectname)", CHECKED)
    return recorded == tree_of(workspace.built)


def _projects(template: Template, rows: list[dict[str, Any]], forbidden: set[str], told: Told) -> int:
    """Render the projects, look at each distinct file, and lint the Python of all; return the number of files."""
    seen: set[tuple[str, bytes]] = set()
    with tempfile.TemporaryDirectory(prefix="projects-") as name:
        for number, given in enumerate(rows):
            told(f"project {number + 1} of {len(rows)}")
            write_folder(_look(template, given, forbidden, seen), Path(name) / str(number))
        told("the formatter and the linter find nothing")
        for words in (("format", "--check"), ("check", "--output-format=concise")):
            _ruff(Path(name), rows, words)
    return len(seen)


def _look(template: Template, given: Mapping[str, Any], forbidden: set[str], seen: set[tuple[str, bytes]]) -> Tree:
    """Return the project for some answers; refuse it when a file in it is not as it should be."""
    answers = template.all_answers(given)
    for layer in sorted(forbidden):
        if answers["layer"][layer]:
            raise _failed(given, "copier.yml", f"the layer {layer} is taken, which the policy leaves out")
    project: Tree = {}
    # An answer may hold braces of its own: they are data, and then say nothing about what is left over.
    braces = any("{" in str(answer) for answer in template.recorded(answers).values())
    for file in template.files():
        try:
            path = file.path_for(answers)
            if path is None:
                continue
            project[path] = File(file.content_for(answers), file.executable)
        except UnsupportedError as error:
            raise _failed(given, str(file.path), str(error)) from error
        content = project[path].content
        wrong = problem(path, content, rendered=file.rendered and not braces) if (path, content) not in seen else ""
        if wrong:
            raise _failed(given, path, wrong)
        seen.add((path, content))
    return project


def _failed(given: Mapping[str, Any], path: str, wrong: str) -> Refused:
    answers = ", ".join(f"{name}={value}" for name, value in given.items()) or "the defaults"
    return Refused(f"{path} of the project with {answers}: {wrong}.")


def _ruff(folder: Path, rows: list[dict[str, Any]], words: tuple[str, ...]) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "ruff", *words, "--no-cache", "."],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        found = FOUND.search(finished.stdout)
        if found is None:
            raise Refused(f"ruff {words[0]} failed: {(finished.stderr or finished.stdout).strip()}")
        number, path, wrong = found.groups()
        raise _failed(rows[int(number)], path, wrong or "the formatter would change it")


def _forbidden(policy: Policy, upstream: Template) -> set[str]:
    """Return the upstream's layers that no answers give which the policy allows."""
    allowed = {**policy.choices, **{name: [value] for name, value in policy.locks.items()}}
    layers = upstream.all_answers({})["layer"].keys()
    for given in combinations(upstream, depends_on(upstream, "layer")):
        if all(value in allowed.get(name, [value]) for name, value in given.items()):
            taken = upstream.all_answers(given)["layer"]
            layers = {name for name in layers if not taken[name]}
    return set(layers)


def _as_copier_does(template: Template, given: Mapping[str, Any], policy: Policy) -> None:
    """Let Copier itself make a project: the same files, defaults and locks taken, every answer recorded."""
    answers = template.all_answers(given)
    with tempfile.TemporaryDirectory(prefix="project-") as name:
        render(Path(name), given, template=template.folder)
        project = read_folder(Path(name))
    recorded = yaml.safe_load(project.pop(template.answers_file).content)
    decided = {**policy.defaults, **policy.locks}
    for question, value in decided.items():
        if (
            question in recorded
            and question not in given
            and not isinstance(value, Jinja)
            and recorded[question] != value
        ):
            raise _failed(given, template.answers_file, f"{question} is {recorded[question]!r}, and not {value!r}")
    for question, value in template.recorded(answers).items():
        if recorded.get(question) != value:
            raise _failed(given, template.answers_file, f"{question} is not recorded as {value!r}")
    expected = {path: rendered.content for path, rendered in template.render(answers).items()}
    for path in sorted(expected.keys() | project.keys()):
        if path not in project or project[path].content != expected.get(path):
            raise _failed(given, path, "Copier makes another file of it")


def _refusals(policy: Policy, upstream: Template) -> Iterator[tuple[str, Value]]:
    """Yield the answers that Copier has to refuse: another than a lock's, and choices that are left out."""
    offered = axes(upstream)
    for name, values in policy.choices.items():
        yield from ((name, value) for value in offered[name] if value not in values)
    for name, locked in policy.locks.items():
        others = [value for value in offered.get(name, []) if value != locked]
        yield from ((name, value) for value in others)
        if name not in offered:
            yield name, f"{locked}x" if isinstance(locked, str) else locked + 1


def _is_refused(folder: Path, name: str, value: Value) -> None:
    with tempfile.TemporaryDirectory(prefix="project-") as project:
        try:
            render(Path(project), {name: value}, template=folder)
        except ValueError:
            return
    raise Refused(f"Copier takes --data {name}={value}, which the policy forbids.")
