"""`uv run adopt`: the template in a repository that exists, a few layers at a time; nothing is overwritten."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from extensions import sources
from extensions.git import git, items
from extensions.refusal import Refused
from extensions.update import branches, updating

from .answer_space import RefusedError as AnswerRefused
from .answer_space import Rendered, Template
from .rendering import TEMPLATE, installed_from

BRANCH = "template/adopt"


class Fate(StrEnum):
    """What happens to a file of the template."""

    added = "added"
    same = "the same"
    kept = "yours kept"
    taken = "taken"
    both = "both, marked"
    blocked = "in the way"  # a link or a folder of the repository
    waits = "not yet"  # its layer is not asked for


@dataclass(frozen=True)
class File:
    """A file that the template has for the repository."""

    path: str
    layer: str
    fate: Fate
    rendered: Rendered


def version_of(source: str, version: str | None) -> str:
    """Return the release to adopt: the one that is asked for, or the newest.

    Raises:
        Refused: there is none, or not this one.
    """
    there = updating.releases(source)
    wanted = f"v{version.removeprefix('v')}" if version else next(reversed(there), "")
    if wanted not in there:
        hint = f"Its releases: {', '.join(there) or 'none'}. --source names another place."
        raise Refused(f"{source} has no release {version or ''}.", hint=hint)
    return wanted


def plan(
    repository: Path, template: Template, answers: Mapping[str, Any], origin: Mapping[str, str], *,
    layers: Sequence[str], take: Sequence[str] = (), both: Sequence[str] = (),
) -> list[File]:  # fmt: skip
    """Return every file that the template has for the repository, and what is to happen to it.

    Args:
        repository: its folder.
        template: the template, at the version to adopt.
        answers: those that are given; defaults for all others.
        origin: `_src_path` and `_commit` for the answers file.
        layers: those to bring now.
        take: paths of which the template's file replaces the repository's.
        both: paths in which the template's file is put beside the repository's, marked.

    Raises:
        Refused: an answer, a layer or a path is not possible.
    """
    try:
        complete = template.all_answers(answers)
    except AnswerRefused as error:
        hint = "--data NAME=VALUE gives another answer; docs/questions.md has them all."
        raise Refused(str(error), hint=hint) from error
    owners = {path: file.layer for file in template.files() if (path := file.path_for(complete)) is not None}
    _require_known(layers, [*take, *both], owners)
    found = []
    for path, rendered in sorted(template.render(complete, origin=origin).items()):
        layer = owners.get(path, "")
        fate = _fate(repository, path, rendered) if layer in ("", *layers) else Fate.waits
        if fate is Fate.kept and path in take:
            fate = Fate.taken
        elif fate is Fate.kept and path in both:
            fate = Fate.both
        found.append(File(path, layer, fate, rendered))
    return found


def _require_known(layers: Sequence[str], paths: Sequence[str], owners: Mapping[str, str]) -> None:
    there = sorted({layer for layer in owners.values() if layer})
    for layer in layers:
        if layer not in there:
            raise Refused(f"These answers have no layer {layer}.", hint=f"Layers: {', '.join(there)}.")
    for path in paths:
        if owners.get(path) not in layers:
            raise Refused(f"{path} is no file of these layers.", hint="--dry-run lists the files.")


def _fate(repository: Path, path: str, rendered: Rendered) -> Fate:
    mine = repository / path
    # Where a file or a link of the repository stands in place of a folder, nothing can be put there.
    around = [repository / folder for folder in Path(path).parents if os.path.lexists(repository / folder)]
    if any(folder.is_symlink() or not folder.is_dir() for folder in around):
        return Fate.blocked
    if not os.path.lexists(mine):
        return Fate.added
    if mine.is_symlink() or not mine.is_file():
        return Fate.blocked
    return Fate.same if mine.read_bytes() == rendered.content else Fate.kept


def write(repository: Path, files: Sequence[File], version: str) -> None:
    """Commit what is planned on the branch `template/adopt`, and check it out.

    Raises:
        Refused: the working tree has changes or files that would be lost, or the branch cannot be made.
    """
    branches.require_clean(repository)
    if (repository / updating.IGNORE).is_symlink():
        message = f"{updating.IGNORE} is a link to {os.readlink(repository / updating.IGNORE)}, and would be written."
        raise Refused(message, hint="Put the file itself there.")
    _refuse_unknown(repository, files)
    written = [file for file in files if file.fate in (Fate.added, Fate.taken, Fate.both)]
    with updating.checkout(repository) as tree:
        for file in written:
            _write(tree / file.path, file)
        _remember_what_is_yours(tree / updating.IGNORE, files)
        git(tree, "add", "--force", "--", updating.IGNORE, *[file.path for file in written])
        commit = updating.commit_index(tree, f"Adopt the template {version.removeprefix('v')}")
    branches.switch_to(repository, BRANCH, commit)


def _refuse_unknown(repository: Path, files: Sequence[File]) -> None:
    """Refuse to replace or to change what git does not have: nothing could bring that back.

    Raises:
        Refused: with the paths.
    """
    known = set(items(git(repository, "ls-files", "-z")))
    lost = [file.path for file in files if file.fate in (Fate.taken, Fate.both) and file.path not in known]
    if lost:
        raise Refused(
            f"git does not know these files of yours, so --take and --both would lose them: {', '.join(lost)}.",
            hint="Commit them first (git add --force), or move them elsewhere.",
        )


def _remember_what_is_yours(ignore: Path, files: Sequence[File]) -> None:
    """Let updates leave alone what is not the template's: files of the repository, and layers that it does not have."""
    # A name may be no UTF-8.
    text = ignore.read_text(encoding="utf-8", errors="surrogateescape") if ignore.exists() else ""
    before = text.splitlines()
    lines = {f"/{file.path}": file.fate for file in files}
    # Of a layer that was brought earlier only what was kept then is yours: it stands there already.
    not_yet = set(before or lines)
    yours = [
        line
        for line, fate in lines.items()
        if fate in (Fate.kept, Fate.blocked) or (fate is Fate.waits and line in not_yet)
    ]
    kept = [line for line in before if line not in lines] or ["# Updates of the template leave these paths alone."]
    ignore.write_text("\n".join([*kept, *yours]) + "\n", encoding="utf-8", errors="surrogateescape")


def _write(target: Path, file: File) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.fate is Fate.both:
        with tempfile.TemporaryDirectory() as folder:
            nothing, theirs = Path(folder, "nothing"), Path(folder, "theirs")
            nothing.touch()
            theirs.write_bytes(file.rendered.content)
            labels = [word for label in ("yours", "nothing", "the template's") for word in ("-L", label)]
            # Its exit code counts the marked places.
            git(Path(folder), "merge-file", *labels, "--", str(target), str(nothing), str(theirs), accepted=range(128))
        return
    target.write_bytes(file.rendered.content)
    if file.rendered.executable:
        target.chmod(0o755)


def adopt(
    repository: Annotated[Path, typer.Argument(help="The repository: its top folder.")],
    layers: Annotated[str, typer.Option(help="The layers to bring now, with commas. Without it: a list of them.")] = "",
    take: Annotated[list[str] | None, typer.Option(help="Let the template's file replace yours. A path.")] = None,
    both: Annotated[
        list[str] | None, typer.Option(help="Put the template's file beside yours, marked. A path.")
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help="An answer, the first time: NAME=VALUE.")] = None,
    version: Annotated[str | None, typer.Option(help="The release, the first time. Default: the newest.")] = None,
    source: Annotated[str | None, typer.Option(help="The template's address. Default: that of this command.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List every file and its fate; change nothing.")] = False,
) -> None:
    """Bring the template into a repository that exists: some layers now, others later, nothing overwritten.

    The repository's own files stay as they are; a file that both have is listed, and --take or --both says what
    to do with it. All is committed on the branch template/adopt, with the answers: from then on updates work, and
    layers that were not brought stay out.
    """
    if not (repository / ".git").exists():
        raise Refused(f"{repository} is not the top folder of a git repository.", hint="git init makes one.")
    branches.require_commit(repository)
    again = os.path.lexists(repository / updating.ANSWERS)
    known = updating.origin(repository) if again else None
    if known and source and updating.address(source) != updating.address(known.source):
        message = f"{repository} has another template, {known.source}, and {updating.ANSWERS} is its file of answers."
        raise Refused(message, hint="One repository takes one template. Put this one into a repository of its own.")
    if known and (data or version or source):
        message = f"{repository} has adopted the template: its version and answers are in {updating.ANSWERS}."
        raise Refused(message, hint="Leave --data, --version and --source out; an update changes them.")
    if known is None:
        answers = updating.assignments(data or [], "--data")
        address = sources.recorded(source or _address())
        known = updating.Origin(address, version_of(address, version), answers)
    with tempfile.TemporaryDirectory() as folder:
        words = ("clone", "--quiet", f"--branch={known.version}", "--", updating.address(known.source), "template")
        git(Path(folder), *words)
        chosen = [layer.strip() for layer in layers.split(",") if layer.strip()]
        files = plan(
            repository, Template(Path(folder, "template")), known.answers,
            {"_commit": known.version, "_src_path": known.source},
            layers=chosen, take=take or (), both=both or (),
        )  # fmt: skip
        show(files, whole=dry_run)
        typer.echo(f"From {known.source}, {known.version}.")
        if dry_run or not chosen:
            typer.echo("Nothing was changed. --layers brings some of them, --dry-run lists their files.")
            return
        write(repository, files, known.version)
    typer.echo(f"Committed on the branch {BRANCH}, which is checked out now. Look at it: git show --stat")


def show(files: Sequence[File], *, whole: bool) -> None:
    """Print what happens to the files of each layer, and each file that is in the way; with `whole` every file."""
    table = Table("layer", *(fate.value for fate in Fate), box=None, header_style="bold")
    for layer in sorted({file.layer for file in files if file.layer}):
        counts = [sum(file.layer == layer and file.fate is fate for file in files) for fate in Fate]
        table.add_row(layer, *(str(count or "") for count in counts))
    console = Console()
    console.print(table)
    for file in files:
        if file.layer and (whole or file.fate in (Fate.kept, Fate.taken, Fate.both, Fate.blocked)):
            console.print(f"  {file.path}: {file.fate.value}", highlight=False, markup=False)
    if any(file.fate is Fate.kept for file in files):
        console.print("--both PATH puts the template's lines into yours, marked; --take PATH replaces yours.")


def _address() -> str:
    """Return the template's address: what this checkout was cloned from or its own path, or what is installed.

    Raises:
        Refused: the command is installed from something that is no repository.
    """
    if not (TEMPLATE / "copier.yml").exists():
        return installed_from()[0]
    return git(TEMPLATE, "config", "--get", "remote.origin.url", accepted=(0, 1)) or str(TEMPLATE)


def main() -> None:
    """Run the command; what is refused is told in words, with exit code 1."""
    try:
        typer.run(adopt)
    except Refused as error:
        typer.secho(error.message, fg="red", err=True)
        typer.secho(error.hint, err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
