"""git, as every command here asks it: with no program of a repository, and no variable or setting that leads elsewhere.

What a repository's own configuration and attributes can run (hooks, a file-system monitor, a signature's check, a
transport) is switched off for every git that is started here, and for the git that Copier starts. Filters and merge
drivers work in the repository of the person who runs the command; in the repositories of others no working tree is
made (`extensions.fleet`).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .refusal import Refused

RELEASE = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")  # the tag of a release
SECONDS = 600  # for one command; a remote that is silent for longer will not answer
# What git may speak: `ext` and the helpers of other schemes are programs. `http` is for a machine whose own settings
# lead an address there; addresses that are given are judged by `extensions.sources`.
PROTOCOLS = ("file", "http", "https", "ssh")
SETTINGS = {
    # What is done here is nobody's own work: it is signed by nobody, and runs nothing of anybody.
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "0",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    # What a person likes to see is not what is read here.
    "advice.detachedHead": "false",
    "color.ui": "false",
    "column.ui": "never",
    "diff.noprefix": "false",
    "diff.mnemonicPrefix": "false",
    "diff.relative": "false",
    "log.follow": "false",
    "status.showUntrackedFiles": "normal",
    "status.relativePaths": "true",
    # A warning about the ends of lines is no reason to lose an update.
    "core.safecrlf": "false",
    "apply.whitespace": "nowarn",
}
QUIET = tuple(word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}"))
# Inside a hook or an alias git sets these, and they would lead to another repository: `git rev-parse
# --local-env-vars` lists them. Settings that are given by variables stay, as git lets them stay for a submodule.
ELSEWHERE = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR", "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
}  # fmt: skip
# These change what a command means, or run another program in its place.
OTHERWISE = {
    "GIT_DEFAULT_HASH", "GIT_DEFAULT_REF_FORMAT", "GIT_DIFF_OPTS", "GIT_EXTERNAL_DIFF", "GIT_GLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS", "GIT_LITERAL_PATHSPECS", "GIT_NOGLOB_PATHSPECS",
}  # fmt: skip


def leave_hooks() -> dict[str, str]:
    """Return the environment without what leads git to another repository."""
    return {name: value for name, value in os.environ.items() if name not in ELSEWHERE}


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a git, or for a program that starts one: the same rules hold there.

    Args:
        variables: environment variables to set.
    """
    clean = {name: value for name, value in leave_hooks().items() if name not in OTHERWISE}
    allowed = [name for name in PROTOCOLS if name in clean.get("GIT_ALLOW_PROTOCOL", ":".join(PROTOCOLS)).split(":")]
    count = int(clean.get("GIT_CONFIG_COUNT") or 0)
    settings = {"GIT_CONFIG_COUNT": str(count + len(SETTINGS))}
    for place, (name, value) in enumerate(SETTINGS.items(), start=count):
        settings |= {f"GIT_CONFIG_KEY_{place}": name, f"GIT_CONFIG_VALUE_{place}": value}
    return (
        clean
        | settings
        # A question that nobody sees would wait for ever; what git says is read here, in one language.
        | {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": ":".join(allowed), "LC_ALL": "C"}
        | dict(variables or {})
    )


def run(
    folder: Path,
    *words: str | os.PathLike[str],
    accepted: Sequence[int] = (0,),
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
) -> bytes:
    """Run git and return what it wrote.

    Args:
        folder: where it runs.
        words: the command and its arguments.
        accepted: exit codes that are no failure.
        given: what it reads.
        variables: environment variables to set.

    Raises:
        Refused: it cannot be started, is silent for too long, or failed; with what it said.
    """
    try:
        done = subprocess.run(
            ["git", *QUIET, *words],
            cwd=folder,
            env=environment(variables),
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "Is the folder named rightly, and git installed?"
        raise Refused(f"git cannot be run: {error.filename} is not there.", hint) from None
    except subprocess.TimeoutExpired:
        name = command_of(words)
        raise Refused(f"git {name} did not end in {SECONDS} s.", "Is the remote within reach?") from None
    if done.returncode not in accepted:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        said = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines[-3:]
        raise Refused(f"git {command_of(words)} failed: {'; '.join(said)}", "What git said names the cause.")
    return done.stdout


def git(
    folder: Path,
    *words: str | os.PathLike[str],
    accepted: Sequence[int] = (0,),
    given: str = "",
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run git and return what it wrote as text, without white space at its ends; a name may be no UTF-8.

    Raises:
        Refused: see `run`.
    """
    content = given.encode(errors="surrogateescape")
    return run(folder, *words, accepted=accepted, given=content, variables=variables).decode(
        errors="surrogateescape"
    ).strip()  # fmt: skip


def items(listed: bytes | str) -> tuple[str, ...]:
    """Return the items of a list that git ended with NUL each."""
    text = listed.decode(errors="surrogateescape") if isinstance(listed, bytes) else listed
    return tuple(item for item in text.split("\0") if item)


def command_of(words: Sequence[str | os.PathLike[str]]) -> str:
    """Return the command among git's words: what stands before it are options and settings."""
    rest = iter(words)
    for word in rest:
        if word == "-c":
            next(rest, None)
        elif not str(word).startswith("-"):
            return str(word)
    return ""
