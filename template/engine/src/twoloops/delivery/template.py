"""The template's newer version: the command that merges it is the template's own, run from its newest release."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from twoloops import git
from twoloops.errors import ProjectError
from twoloops.paths import paths

ANSWERS = ".copier-answers.yml"
RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
SIGNERS = "engine/SIGNERS"
UNSIGNED = (
    "Ask its maintainers before you take it. Verifying wants git 2.34 and OpenSSH 8.2 (ssh-keygen) on this machine; "
    f"whoever trusts the release without it takes the lines out of {SIGNERS}, and commits that."
)
# Copier's short names of code hosts.
SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
# Whoever is on the way can change what comes over http and git.
SCHEMES = ("https", "ssh", "file")
URL = re.compile(rf"({'|'.join(SCHEMES)})://[^-\s#][^\s#]*")
SSH = re.compile(r"(?P<host>\w[\w.-]*@\w[\w.-]*):(?P<path>[^\s#:]+)")  # as ssh has it


def update(words: Sequence[str]) -> int:
    """Run `update-template` of the template's newest release on the project, and return its exit code.

    Raises:
        ProjectError: the answers file does not name a template, or it cannot be reached.
    """
    source = address()
    newest = newest_release(source)
    # What is run is what was signed, wherever the tag stands by then.
    revision = verify(source, newest) or newest
    # Tools do not read a project's own settings of uv, which may say where packages come from.
    settings = ["--config-file", "uv.toml"] if (paths().root / "uv.toml").exists() else []
    command = ["uv", *settings, "tool", "run", "--from", f"git+{source}@{revision}", "update-template", *words]
    return subprocess.run(command, cwd=paths().root, env=_environment(), check=False).returncode


def _environment() -> dict[str, str]:
    """Return the environment for git and for what starts it: it speaks what addresses may say, and no program's."""
    # `http` is for a machine whose own settings lead an address there.
    return {"GIT_ALLOW_PROTOCOL": ":".join((*SCHEMES, "http")), **git.environment()}


def address() -> str:
    """Return where the template is, as a URL: answers are data, and what is no address goes nowhere.

    Raises:
        ProjectError: the answers file is missing or damaged, or names no address.
    """
    file = paths().root / ANSWERS
    bring_back = f"Bring it back: git log --oneline -- {ANSWERS} names the commits, git checkout COMMIT -- {ANSWERS}."
    try:
        source = str(yaml.safe_load(file.read_text(encoding="utf-8"))["_src_path"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError) as error:
        message = f"{ANSWERS} does not say which template this was made from: {error}"
        raise ProjectError(message, hint=bring_back) from error
    source = source.removeprefix("git+")
    for short, whole in SHORT.items():
        if source.startswith(short):
            source = whole + source.removeprefix(short)
    if found := SSH.fullmatch(source):
        source = f"ssh://{found['host']}/{found['path']}"
    elif Path(source).expanduser().is_dir():
        source = Path(source).expanduser().resolve().as_uri()
    if source.startswith(("http://", "git://")):
        message = f"{ANSWERS} names {source}, and whoever is on the way can change what comes from there."
        raise ProjectError(message, hint="Take https or ssh: write it into _src_path, and commit that.")
    if not URL.fullmatch(source):
        raise ProjectError(f"{ANSWERS} names {source}, which is no template's address.", hint=bring_back)
    return source


def verify(source: str, tag: str) -> str | None:
    """Verify who has signed a release before a line of it is run, and return its commit.

    Args:
        source: the template's address.
        tag: of the release.

    Returns:
        The commit; None: engine/SIGNERS names nobody, and there is nothing to verify by. The command then says so.

    Raises:
        ProjectError: it is signed by nobody, by somebody else, under another name, or cannot be verified here.
    """
    signers = (paths().root / SIGNERS).absolute()
    text = signers.read_text(encoding="utf-8", errors="replace") if signers.is_file() else ""
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return None
    reference = f"refs/tags/{tag}"
    message = f"The release {tag} of {source} is not signed by one of {SIGNERS}"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        git.demand("init", "--quiet", "--bare", "--template=", folder=place)
        words = ("fetch", "--quiet", "--depth=1", "--no-tags", "--", source, f"+{reference}:{reference}")
        git.demand(*words, folder=place)
        # The signature is about the name inside: a tag that was moved to an older one's content has the older name.
        lines = (git.ask("cat-file", "tag", reference, folder=place) or "").splitlines()
        if f"tag {tag}" not in lines[:4]:
            raise ProjectError(f"{message}: it is no tag of that name.", hint=UNSIGNED)
        settings = (
            *("-c", "gpg.format=ssh", "-c", "gpg.ssh.program=ssh-keygen", "-c", "gpg.minTrustLevel=undefined"),
            *("-c", f"gpg.ssh.allowedSignersFile={signers}"),
        )
        try:
            git.demand(*settings, "verify-tag", tag, folder=place)
        except ProjectError as error:
            raise ProjectError(f"{message}. {error}", hint=UNSIGNED) from None
        return git.demand("rev-parse", f"{reference}^{{commit}}", folder=place)


def newest_release(source: str) -> str:
    """Return the tag of a template's newest release.

    Raises:
        ProjectError: it cannot be reached, or has none.
    """
    command = ["git", "ls-remote", "--tags", "--refs", "--", source]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProjectError(
            f"The template {source} cannot be reached: {done.stderr.strip()}",
            hint=f"{ANSWERS} has the address in _src_path: is it right, and can git reach it from this folder?",
        )
    tags = [line.rpartition("/")[2] for line in done.stdout.splitlines()]
    releases = [(tuple(map(int, found.groups())), tag) for tag in tags if (found := RELEASE.fullmatch(tag))]
    if not releases:
        raise ProjectError(f"The template {source} has no release.", hint="A release is a tag such as v1.0.0.")
    return max(releases)[1]
