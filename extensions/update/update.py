"""A whole update: the merge of the newer version, and then what has moved rewritten in the owner's own code.

The rewriting is a commit of its own, which a reviewer can read alone.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..git import git, items
from . import updating
from .updating import Origin, Update

MOVED = "v0.3.0"  # the release with which the machinery left the project's own package


def update(
    project: Path,
    *,
    to: str | None = None,
    answers: Mapping[str, str] | None = None,
    copier: Sequence[str] | None = None,
) -> Update | None:
    """Merge a version of the template into the project's last commit, and rewrite what has moved.

    Branches, index and working tree stay as they are; `updating.switch` brings the result onto a branch.

    Args:
        project: its folder, in a git repository.
        to: the version, such as "0.2.0"; None: the newest release.
        answers: answers to be changed with it.
        copier: the command that renders; None: the usual one.

    Returns:
        The update; None: there is nothing newer, no answer changes, and nothing can be rewritten.

    Raises:
        Refused: see `updating.merge`.
    """
    known = updating.origin(project)
    merged = updating.merge(project, to=to, answers=answers, copier=copier or updating.COPIER)
    if merged is not None:
        return _rewrite(project, known, merged)
    if updating.number(known.version) < updating.number(MOVED):
        return None
    # `copier update` alone has merged it: what is left to do is the rewriting.
    version = known.version.removeprefix("v")
    head = git(project, "rev-parse", "HEAD")
    there = Update(version, version, head, changed=(), conflicts=(), left_out=(), answers={}, notes="")
    found = _rewrite(project, known, there)
    return found if found.rewritten else None


def _rewrite(project: Path, known: Origin, merged: Update) -> Update:
    """Return the update with a further commit, in which the owner's code uses the engine's names."""
    before, moved = updating.number(known.version), updating.number(MOVED)
    if before and before < moved and updating.number(f"v{merged.after}") < moved:
        return merged
    package = str(known.answers.get("package_name", ""))
    inside = git(project, "rev-parse", "--show-prefix")
    files = [
        path.removeprefix(inside)
        for path in items(git(project, "ls-tree", "-r", "--name-only", "--full-tree", "-z", merged.commit))
        if path.startswith(inside) and path.endswith(".py")
    ]
    source = f"src/{package}/"
    if not package or not any(path.startswith(source) for path in files):
        return merged
    # What the merge kept of the machinery is for its owner to settle; in a project that has come over already, a
    # module of the package is the owner's own.
    settle = {each.path.removeprefix(inside) for each in merged.conflicts}
    files = [path for path in files if not path.startswith(f"{updating.ENGINE}/") and path not in settle]
    own = {
        path.removeprefix(source).removesuffix(".py").replace("/", ".")
        for path in files
        if path.startswith(source) and not path.endswith("__init__.py")
    }
    with updating.checkout(project, merged.commit) as tree:
        rewritten, left = _rewrite_files(tree / inside, files, package, own)
        if not rewritten:
            return replace(merged, to_rewrite=left)
        git(tree / inside, "add", "--", *rewritten)
        commit = updating.commit_index(tree, "Import what has moved to the engine from there")
    paths = tuple(f"{inside}{path}" for path in rewritten)
    changed = tuple(sorted({*merged.changed, *paths}))
    return replace(merged, commit=commit, changed=changed, rewritten=paths, to_rewrite=left)


def _rewrite_files(
    folder: Path, files: Iterable[str], package: str, own: Iterable[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Rewrite files in place; return those that are different now, and what is left to do, in lines."""
    import libcst as cst  # noqa: PLC0415 - it takes a third of a second, and most updates have nothing to rewrite

    from .rewriting import rewrite  # noqa: PLC0415

    rewritten, left = [], []
    for path in files:
        file = folder / path
        try:
            text = file.read_bytes().decode("utf-8")
            found = rewrite(text, path, package, own)
        except (cst.ParserSyntaxError, UnicodeDecodeError, RecursionError) as error:
            if package in file.read_text(encoding="utf-8", errors="replace"):
                left.append(f"{path}: it could not be read, so nothing in it is rewritten: {error.args[:1]}")
            continue
        if found.text == text:
            left += map(str, found.left)
            continue
        was_formatted = _ruff(file, "format", "--check")
        file.write_bytes(found.text.encode())
        # In the order that the project's own rules demand, if they do.
        _ruff(file, "check", "--fix", "--fixable=I001")
        if was_formatted:
            _ruff(file, "format")
        rewritten.append(path)
        # What is left, by the lines that the file has now.
        left += map(str, rewrite(file.read_text(encoding="utf-8"), path, package, own).left)
    return rewritten, tuple(left)


def _ruff(file: Path, command: str, *options: str) -> bool:
    """Check or mend a file by the project's own rules; False: it breaks them, or they cannot be read."""
    words = [sys.executable, "-m", "ruff", command, *options, "--quiet", "--no-cache", str(file)]
    return not subprocess.run(words, cwd=file.parent, capture_output=True, check=False).returncode
