"""`uv run release`: releases of the template, each proven before it has a name, and never moved afterwards."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from extensions.git import RELEASE, leave_hooks
from extensions.git import git as run_git
from extensions.refusal import Refused

from . import versions
from .rendering import TEMPLATE

TABLE = "releases.yaml"
CHANGELOG = "CHANGELOG.md"
ENGINE = "template/engine"
PROJECTS = ("pyproject.toml", f"{ENGINE}/pyproject.toml")  # both have the template's version
UNRELEASED = "## Unreleased\n"

app = typer.Typer(
    help="Make releases: show what is to be released, prove it, make the release.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Level(StrEnum):
    """What a release asks of the owner of a project."""

    patch = "patch"  # nothing: it repairs
    minor = "minor"  # nothing: it adds
    major = "major"  # something: a choice, a question or a promise is gone


def git(*words: str, folder: Path) -> str:
    """Run git and return what it prints.

    Raises:
        Refused: git fails; the message is git's.
    """
    return run_git(folder, *words)


def table(folder: Path, revision: str | None = None) -> dict[str, str]:
    """Return the commit of every release by its tag, oldest first, as of the working tree or of a revision."""
    text = git("show", f"{revision}:{TABLE}", folder=folder) if revision else (folder / TABLE).read_text("utf-8")
    return yaml.safe_load(text) or {}


def tags_from_table(folder: Path) -> None:
    """Make the tags that a clone lacks.

    Raises:
        Refused: a commit is not there, or a tag stands elsewhere.
    """
    for tag, commit in table(folder).items():
        found = _commit(folder, tag)
        if found is None:
            if _commit(folder, commit) is None:
                raise Refused(f"The commit of {tag} is not in this clone. Fetch the whole: git fetch --unshallow")
            git("tag", tag, commit, folder=folder)
        elif found != commit:
            raise Refused(f"{tag} stands at {found[:12]}, and {TABLE} says {commit[:12]}. Tags never move.")


def _commit(folder: Path, revision: str) -> str | None:
    """Return the commit of a tag or a hash; None: it is not in this clone."""
    words = ("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return run_git(folder, *words, accepted=(0, 1)) or None


def questions(text: str) -> dict[str, dict[str, Any]]:
    """Return the questions that people answer, from the text of copier.yml."""
    content = yaml.safe_load(text)
    return {
        name: each
        for name, each in content.items()
        if not name.startswith("_") and each.get("when") is not False
    }  # fmt: skip


def demands(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[Level, str]]:
    """Return what differs between the questions of two versions, and the level that it asks for at least.

    What questions do not show, such as a renamed verb, is for the author to judge.

    Args:
        before: the questions of the last release.
        after: those of now.
    """
    found = []
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if new is None:
            # A renamed question takes the old answer as its default, and owners need to do nothing.
            renamed = [each for each in after if re.search(rf"\b{name}\b", str(after[each].get("default", "")))]
            level, why = (Level.minor, f"is now {renamed[0]}") if renamed else (Level.major, "is gone")
            found.append((level, f"the question {name} {why}"))
        elif old is None:
            level = Level.minor if "default" in new else Level.major
            found.append((level, f"the question {name} is new" + ("" if "default" in new else ", and has no default")))
        else:
            if old["type"] != new["type"]:
                found.append((Level.major, f"{name} has another type"))
            gone, more = _choices(old) - _choices(new), _choices(new) - _choices(old)
            found += [(Level.major, f"{name} loses the choice {each}") for each in sorted(gone)]
            found += [(Level.minor, f"{name} has a new choice: {each}") for each in sorted(more)]
    return found


def _choices(question: Mapping[str, Any]) -> set[str]:
    """Return the values to choose from; a list that Jinja makes counts as one."""
    choices = question.get("choices", [])
    if isinstance(choices, str):
        return set(re.findall(r"'(\w+)'", choices))
    return set(map(str, choices.values() if isinstance(choices, dict) else choices))


def next_version(last: str, level: Level) -> str:
    """Return the tag after `last`. Before 1.0.0 what is major raises the second number, as semver.org has it."""
    major, minor, patch = _number(last)
    if level is Level.patch:
        return f"v{major}.{minor}.{patch + 1}"
    if level is Level.minor or major == 0:
        return f"v{major}.{minor + 1}.0"
    return f"v{major + 1}.0.0"


def _number(tag: str) -> tuple[int, int, int]:
    found = RELEASE.fullmatch(tag)
    if not found:
        raise Refused(f"{TABLE} names {tag}, which is no release such as v1.2.3.")
    return int(found[1]), int(found[2]), int(found[3])


def entry(folder: Path) -> str:
    """Return what CHANGELOG.md says under Unreleased.

    Raises:
        Refused: there is nothing.
    """
    text = (folder / CHANGELOG).read_text(encoding="utf-8")
    _, found, rest = text.partition(UNRELEASED)
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0].strip()
    if not found or not section:
        raise Refused(f"{CHANGELOG} says nothing under '{UNRELEASED.strip()}'. What does an update do to a project?")
    return section


def changes(folder: Path) -> list[tuple[Level, str]]:
    """Return what differs in the questions since the last release."""
    last = next(reversed(table(folder).values()))
    before = questions(git("show", f"{last}:copier.yml", folder=folder))
    return demands(before, questions((folder / "copier.yml").read_text(encoding="utf-8")))


def _proofs(folder: Path) -> Path:
    """Return the file that names the trees which passed; it belongs to the clone, not to the project."""
    return folder / git("rev-parse", "--git-common-dir", folder=folder) / "proved"


def _require_clean(folder: Path) -> None:
    if git("status", "--porcelain", folder=folder):
        raise Refused("The working tree has changes that are not committed: a release is a commit.")


def prove(folder: Path, command: list[str]) -> str:
    """Run the proof on the last commit, and note the tree that passed.

    Raises:
        Refused: the tree is not clean, other versions are installed than projects begin with, or the proof failed.
    """
    _require_clean(folder)
    if others := versions.find_differences(versions.read(folder)):
        raise Refused(
            f"{'; '.join(others)}. Install what projects begin with: rm uv.lock && .ci/lock && uv sync. "
            "Or record what is newest, and commit that: uv run release refresh"
        )
    tree = git("rev-parse", "HEAD^{tree}", folder=folder)
    done = subprocess.run(command, cwd=folder, env=leave_hooks(), check=False)
    if done.returncode:
        raise Refused(f"The proof failed with code {done.returncode}: nothing is noted.")
    _require_clean(folder)
    with _proofs(folder).open("a", encoding="utf-8") as file:
        file.write(tree + "\n")
    return tree


def make(folder: Path, level: Level, now: datetime) -> str:
    """Make the release of the last commit: two commits and a tag; return the tag.

    The first commit names the version in the changelogs and in each pyproject.toml, writes the manifest of the engine,
    and has the tag; the second notes it in releases.yaml and takes the manifest away: what follows is no release. The
    proof is that of the tree before: only these files differ.

    Args:
        folder: a clone of the template.
        level: what it asks of owners.
        now: its date stands in the changelog.

    Raises:
        Refused: unclean, not on main, not proven, nothing to release, or the level is too low.
    """
    _require_clean(folder)
    branch = git("rev-parse", "--abbrev-ref", "HEAD", folder=folder)
    if branch != "main":
        raise Refused(f"This is the branch {branch}. Releases are made on main.")
    section = entry(folder)
    tree, proofs = git("rev-parse", "HEAD^{tree}", folder=folder), _proofs(folder)
    if not proofs.exists() or tree not in proofs.read_text(encoding="utf-8").split():
        raise Refused("This commit is not proven. Run first: uv run release prove")
    order = list(Level)
    too_low = [why for needed, why in changes(folder) if order.index(needed) > order.index(level)]
    if too_low:
        raise Refused(f"A {level} release is not enough: " + "; ".join(too_low) + ".")
    tags_from_table(folder)
    tag = next_version(next(reversed(table(folder))), level)
    if git("tag", "--list", tag, folder=folder):
        raise Refused(f"The tag {tag} is there, and {TABLE} does not know it. Look at both first.")
    start = git("rev-parse", "HEAD", folder=folder)
    try:
        _write_release(folder, tag, section, now)
    except Exception:
        git("reset", "--quiet", "--hard", start, folder=folder)
        run_git(folder, "tag", "--delete", tag, accepted=(0, 1))
        raise
    return tag


def _write_release(folder: Path, tag: str, section: str, now: datetime) -> None:
    version = tag.removeprefix("v")
    for changelog in (CHANGELOG, f"{ENGINE}/{CHANGELOG}"):
        _replace(folder / changelog, UNRELEASED, f"{UNRELEASED}\n## {version} - {now:%Y-%m-%d}\n")
    _set_version(folder, version)
    manifest = write_manifest(folder, version)
    git("add", str(manifest), folder=folder)
    git("commit", "--quiet", "--all", f"--message=Release {tag}", folder=folder)
    git("tag", "--annotate", tag, f"--message={tag}\n\n{section}", "--cleanup=whitespace", folder=folder)
    with (folder / TABLE).open("a", encoding="utf-8") as file:
        file.write(f"{tag}: {git('rev-parse', 'HEAD', folder=folder)}\n")
    manifest.unlink()
    _set_version(folder, f"{next_version(tag, Level.patch).removeprefix('v')}.dev0")
    git("commit", "--quiet", "--all", f"--message=Note the release {tag}", folder=folder)


def _set_version(folder: Path, version: str) -> None:
    for file in PROJECTS:
        _replace(folder / file, r'^version = ".*"$', f'version = "{version}"', pattern=True)


def write_manifest(folder: Path, version: str) -> Path:
    """Write which bytes the engine's files have in this release: `doctor` compares a project's with them.

    Only a release has a manifest: between two of them each change of the engine would have to touch it.
    """
    from twoloops import integrity  # noqa: PLC0415 - no dependency of the other commands

    engine = folder / ENGINE
    listed = git("ls-files", "-z", "--", ".", folder=engine).split("\0")
    files = [engine / name for name in listed if name and name != integrity.MANIFEST]
    path = engine / integrity.MANIFEST
    path.write_text(integrity.as_text(version, integrity.digests(engine, files)), encoding="utf-8", newline="\n")
    return path


def _replace(file: Path, old: str, new: str, *, pattern: bool = False) -> None:
    text = file.read_text(encoding="utf-8")
    changed, count = re.subn(old if pattern else re.escape(old), lambda _: new, text, count=1, flags=re.MULTILINE)
    if not count:
        raise Refused(f"{file.name} has no place for the version: {old.strip()}")
    file.write_text(changed, encoding="utf-8")


@app.command("status")
def show_status() -> None:
    """Show the last release, what has changed since, and the lowest level that this asks for."""
    last = next(reversed(table(TEMPLATE)))
    typer.echo(f"Last release: {last}")
    found = changes(TEMPLATE)
    for level, why in found:
        typer.echo(f"  {level}: {why}")
    lowest = max((level for level, _ in found), key=list(Level).index, default=Level.patch)
    typer.echo(f"At least: {lowest}, {next_version(last, lowest)}. What CHANGELOG.md says of it:\n\n{entry(TEMPLATE)}")


@app.command("refresh")
def refresh_versions() -> None:
    """Record the newest versions that the engine's bounds allow: the next proof is of these."""
    before, after = versions.read(TEMPLATE), versions.find_newest(TEMPLATE)
    versions.write(TEMPLATE, after)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            typer.echo(f"{name}: {before.get(name, 'new')} -> {after.get(name, 'gone')}")
    typer.echo("Next: rm -f uv.lock && .ci/lock && uv sync, look at the changes, commit, and: uv run release prove")


@app.command("prove")
def run_proof() -> None:
    """Run every test on the last commit, also those that CI leaves out, and note that they passed."""
    typer.echo(f"Proven: tree {prove(TEMPLATE, ['bash', '.ci/run', 'release'])[:12]}. Next: uv run release make LEVEL")


@app.command("make")
def make_release(level: Annotated[Level, typer.Argument(help="What it asks of owners; see CHANGELOG.md.")]) -> None:
    """Make the release: a commit with its version, the tag, and a line in releases.yaml."""
    tag = make(TEMPLATE, level, datetime.now(UTC))
    typer.echo(f"Released here: {tag}. Next: git push --atomic origin main {tag}")


@app.command("tags")
def make_tags() -> None:
    """Make the tags of all releases that this clone lacks, from releases.yaml."""
    tags_from_table(TEMPLATE)
    typer.echo(f"Tags: {', '.join(table(TEMPLATE))}")


def main() -> None:
    """Run the command; what is refused is told in words, with exit code 1."""
    try:
        app()
    except Refused as error:
        typer.secho(str(error), fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
