"""`uv run release`: releases of the template, each proven before it has a name, and never moved afterwards."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml

from extensions.git import RELEASE, leave_hooks
from extensions.git import git as run_git
from extensions.refusal import Refused

from . import versions
from .answer_space import Template
from .levels import Change, Level, compare_questions, next_version
from .rendering import TEMPLATE

TABLE = "releases.yaml"
QUESTIONS = "copier.yml"
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


def _last(folder: Path) -> str:
    """Return the version of the last release.

    Raises:
        Refused: its tag is none.
    """
    tag = next(reversed(table(folder)))
    if not RELEASE.fullmatch(tag):
        raise Refused(f"{TABLE} names {tag}, which is no release such as v1.2.3.")
    return tag.removeprefix("v")


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


def changes(folder: Path) -> list[Change]:
    """Return what differs in the questions since the last release, and has to be weighed.

    A default may change in any release: projects keep their answers.
    """
    last = next(reversed(table(folder).values()))
    with tempfile.TemporaryDirectory() as before:
        (Path(before) / QUESTIONS).write_text(git("show", f"{last}:{QUESTIONS}", folder=folder), encoding="utf-8")
        return list(compare_questions(Template(Path(before)), Template(folder)))


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
    too_low = [change.text for change in changes(folder) if change.level > level]
    if too_low:
        raise Refused(f"A {level.name} release is not enough: " + "; ".join(too_low) + ".")
    tags_from_table(folder)
    tag = f"v{next_version(_last(folder), level)}"
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
    _set_version(folder, f"{next_version(version, Level.patch)}.dev0")
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
    files = [engine / name for name in listed if name and name not in (integrity.MANIFEST, integrity.SIGNERS)]
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
    for change in found:
        typer.echo(f"  {change.level.name}: {change.text}")
    lowest = max((change.level for change in found), default=Level.patch)
    version = next_version(_last(TEMPLATE), lowest)
    typer.echo(f"At least: {lowest.name}, v{version}. What CHANGELOG.md says of it:\n\n{entry(TEMPLATE)}")


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
def make_release(
    level: Annotated[
        Literal["patch", "minor", "major"], typer.Argument(help="What it asks of owners; see CHANGELOG.md.")
    ],
) -> None:
    """Make the release: a commit with its version, the tag, and a line in releases.yaml."""
    tag = make(TEMPLATE, Level[level], datetime.now(UTC))
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
