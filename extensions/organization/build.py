"""From a release of upstream, a policy and an overlay to an ordinary template repository."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from commands.answer_space import RefusedError, Template, UnsupportedError
from commands.questions import axes

from ..refusal import Refused
from ..signatures import SIGNERS
from . import overlay as rules
from .document import ORGANIZATION, compose
from .git import COMMANDS, PROVENANCE, Upstream, git
from .pages import readme, section
from .policy import FILE, Jinja, Policy, load
from .trees import File, Tree, digest, read_folder, write_folder

BUILT = "build"
CHANGELOG = "CHANGELOG.md"
QUESTIONS = "copier.yml"
UNSIGNED = "# Nobody signs the releases of this template: `update-template` says so, and goes on.\n"
TEMPLATE = "template/"
UPDATE = "extensions/update/cli.py"
EXAMPLE = "extensions/example/"


@dataclass(frozen=True)
class Workspace:
    """The folder of a platform team: what a build takes from it."""

    folder: Path
    policy: Policy
    policy_file: File
    overlay: Tree
    changelog: str

    @property
    def built(self) -> Path:
        """The folder of the built template repository."""
        return self.folder / BUILT


def read(folder: Path) -> Workspace:
    """Read a workspace.

    Raises:
        Refused: the policy or the changelog is missing or wrong, or the overlay holds a symbolic link.
    """
    policy = load(folder)
    try:
        notes = (folder / CHANGELOG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{CHANGELOG} cannot be read.", "It tells owners of projects what a release means.") from error
    return Workspace(folder, policy, File((folder / FILE).read_bytes()), read_folder(folder / rules.FOLDER), notes)


def compile_tree(workspace: Workspace, upstream: Upstream) -> Tree:
    """Return the built template repository: the same for the same inputs, to the byte.

    Raises:
        Refused: the policy, the overlay and the release of upstream do not go together.
    """
    policy = workspace.policy
    if not section(workspace.changelog, policy.version):
        raise Refused(f"{CHANGELOG} says nothing under: ## {policy.version}", "Say what this release does to projects.")
    released = upstream.tree(policy.upstream.version)
    _refuse_built(policy, released)
    with laid_out(questions_of(released)) as folder:
        tree = _files(workspace, upstream, released, read_template(folder))
    with laid_out(questions_of(tree)) as folder:
        template = read_template(folder)
        offered = _decisions_hold(policy, template)
        kept = {path.removeprefix(TEMPLATE) for path in tree if path.startswith(TEMPLATE)} - workspace.overlay.keys()
        rules.check_content(workspace.overlay, template.questions(), template)
        rules.check_overlaps(workspace.overlay, kept, template, policy.layers)
        tree["README.md"] = File(readme(policy, offered, sorted(map(rules.destination, workspace.overlay))).encode())
    tree[CHANGELOG] = File(workspace.changelog.encode())
    tree[PROVENANCE] = _provenance(workspace, upstream, released)
    return dict(sorted(tree.items()))


def _refuse_built(policy: Policy, released: Tree) -> None:
    """Refuse an upstream that was itself built for an organization: layers and questions of the two would meet."""
    if PROVENANCE not in released:
        return
    try:
        recorded = yaml.safe_load(released[PROVENANCE].content)
        whose, first = recorded["organization"], recorded["upstream"]
        way = f"Build from its own upstream: source: {first['source']}, version: {first['version']}"
    except (yaml.YAMLError, KeyError, TypeError):
        whose, way = "an organization", "Build from its own upstream"
    raise Refused(
        f"{FILE}: the upstream {policy.upstream.source} was itself built, for {whose}: nothing is built on that.",
        f"{way}. What you share with {whose} goes into your overlay.",
    )


def questions_of(tree: Tree) -> Tree:
    """Return the one file that says what a template asks; the others need not be written to know it."""
    return {name: file for name, file in tree.items() if name == QUESTIONS}


def _files(workspace: Workspace, upstream: Upstream, released: Tree, template: Template) -> Tree:
    """Return copier.yml, the template's files, the commands of its owners and the licence."""
    policy, overlay = workspace.policy, workspace.overlay
    theirs = {path.removeprefix(TEMPLATE): file for path, file in released.items() if path.startswith(TEMPLATE)}
    document = compose(template, released[QUESTIONS].content.decode(), policy)
    rules.check_names(overlay, [*template.all_answers({})["layer"], *policy.layers, ORGANIZATION])
    for name in sorted(policy.layers.keys() - set(map(rules.layer_of, overlay))):
        raise Refused(f"{FILE}: layers.{name} has no file.", f"Add one: {rules.FOLDER}/{{{{ layer.{name} }}}}/…")
    replacements = rules.replaced(overlay, theirs)
    try:
        rules.check_pins(policy, replacements.values(), theirs)
    except rules.Changed as changed:
        raise Refused(f"{changed.message}{_since_review(policy, upstream, changed.path)}", changed.hint) from changed
    files = {path: file for path, file in theirs.items() if path not in replacements.values()} | overlay
    tree = {TEMPLATE + path: file for path, file in files.items()}
    if f"{TEMPLATE}{SIGNERS}" in tree:  # the upstream's maintainers do not sign what is published here
        tree[f"{TEMPLATE}{SIGNERS}"] = File(UNSIGNED.encode())
    tree[QUESTIONS] = File(document.encode())
    if UPDATE in released:  # since then the command that updates a project is the template's own
        tree |= {
            path: file for path, file in released.items() if path.startswith(COMMANDS) and not path.startswith(EXAMPLE)
        }
    if "LICENSE" in released:
        tree["LICENSE"] = released["LICENSE"]
    return tree


def _since_review(policy: Policy, upstream: Upstream, path: str) -> str:
    """Return what upstream has changed in a file since it was reviewed, where a release still has that content."""
    now, version = upstream.tree(policy.upstream.version)[TEMPLATE + path], policy.upstream.version
    for tag in reversed(upstream.releases()):
        reviewed = upstream.tree(tag).get(TEMPLATE + path)
        if reviewed and reviewed.sha256 == policy.replaces[path]:
            return "\n\n" + rules.difference(path, reviewed.content, now.content, (tag, version)) + "\n"
    return ""


@contextmanager
def laid_out(tree: Tree) -> Iterator[Path]:
    """Give a tree a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="template-") as name:
        write_folder(tree, Path(name))
        yield Path(name)


def read_template(folder: Path) -> Template:
    """Return the template in a folder.

    Raises:
        Refused: it is none.
    """
    try:
        return Template(folder)
    except UnsupportedError as error:
        raise Refused(f"The template cannot be read: {error}") from error


def _decisions_hold(policy: Policy, template: Template) -> dict[str, list[Any]]:
    """Refuse decisions that the template's own rules turn down; return the values that its questions still offer."""
    try:
        offered = axes(template)
        answers = template.all_answers({})
    except (RefusedError, UnsupportedError) as error:
        raise Refused(f"{FILE}: with its locks, choices and defaults a project cannot be made: {error}") from error
    for place, decided in (("locks", policy.locks), ("defaults", policy.defaults)):
        for name, value in decided.items():
            if not isinstance(value, Jinja) and answers[name] != value:
                raise Refused(f"{FILE}: {place}.{name} is {value!r}, but the template makes {answers[name]!r} of it.")
    return offered


def _provenance(workspace: Workspace, upstream: Upstream, released: Tree) -> File:
    policy = workspace.policy
    content = {
        "organization": policy.organization.slug,
        "version": policy.version,
        "upstream": {
            "source": policy.upstream.source,
            "version": policy.upstream.version,
            "commit": upstream.commit(policy.upstream.version),
            "sha256": digest(released),
        },
        **inputs(workspace),
        "builder": metadata.version("copier-mlops"),
    }
    return File(
        b"# Where this template comes from. Made by the builder.\n" + yaml.safe_dump(content, sort_keys=False).encode()
    )


def inputs(workspace: Workspace) -> dict[str, str]:
    """Return the hashes of what a workspace gives to a build."""
    return {
        "policy": workspace.policy_file.sha256,
        "overlay": digest(workspace.overlay),
        "changelog": File(workspace.changelog.encode()).sha256,
    }


def built_tree(workspace: Workspace) -> Tree:
    """Return what lies in build/, without its history.

    Raises:
        Refused: there is nothing, or it was made from another policy, overlay or changelog.
    """
    try:
        recorded = yaml.safe_load((workspace.built / PROVENANCE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refused(f"{BUILT}/ holds no template.", "First: organization build") from None
    if {name: recorded.get(name) for name in inputs(workspace)} != inputs(workspace):
        raise Refused(f"The workspace has changed since {BUILT}/ was made from it.", "First: organization build")
    return {path: file for path, file in read_folder(workspace.built).items() if not path.startswith(".git/")}


def lay_down(tree: Tree, workspace: Workspace) -> None:
    """Put a built tree into build/, whole or not at all; its git history stays.

    Raises:
        Refused: build/ holds something that was not built.
    """
    built = workspace.built
    if built.exists() and not (built / PROVENANCE).exists() and any(built.iterdir()):
        raise Refused(f"{BUILT}/ holds what no build has made.", "Move it away.")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=workspace.folder) as name:
        new, old = Path(name) / "new", Path(name) / "old"
        new.mkdir()
        write_folder(tree, new)
        if (built / ".git").exists():
            # A copy: whatever ends the program now, the history is where it was.
            shutil.copytree(built / ".git", new / ".git", symlinks=True)
        else:
            git(new, "init", "--quiet", "--initial-branch=main")
        if built.exists():
            built.rename(old)
        new.rename(built)


def tree_of(built: Path) -> str:
    """Return git's name for what lies in build/, as a commit of it would record it."""
    git(built, "add", "--all", "--force", ".")
    return git(built, "write-tree")
