"""The project's two images in a cloud's registry: one serves, one trains. The Dockerfile makes both.

A tag says what an image is made of, so that the same code never makes a second one: what was
tested is what is deployed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from twoloops import config
from twoloops.errors import ProjectError

SERVE, TRAIN = "serve", "train"  # groups of pyproject.toml
KINDS = (SERVE, TRAIN)
FILES = ("Dockerfile", "pyproject.toml", "uv.lock", "README.md", "params.yaml")
FOLDERS = ("src", "engine")
ENGINES = ("docker", "podman")
PLATFORM = "linux/amd64"  # of the machines in infra/machines.yaml, whatever builds
# One plain image, in the form that every service of the cloud reads: no list of images, no attestations beside it.
PLAIN = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "BUILDAH_FORMAT": "docker"}


class ImageRegistry(Protocol):
    """A cloud's registry of images; its tags never move."""

    @property
    def repository(self) -> str:
        """The project's repository: HOST/NAME."""

    def find_digest(self, tag: str) -> str | None:
        """Return the digest of the image with this tag, or None."""

    def log_in(self) -> tuple[str, str]:
        """Return a user and a password with which an engine pushes, for a while."""


def tag(kind: str) -> str:
    """Return the tag of the image that this very code makes.

    Args:
        kind: SERVE or TRAIN.

    Raises:
        ProjectError: a file that the image is made of is missing.
    """
    digest = hashlib.sha256()
    root = config.current().root
    for path in _parts(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return f"{kind}-{digest.hexdigest()[:16]}"


def _parts(root: Path) -> Iterator[Path]:
    for name in FILES:
        if not (root / name).exists():
            hint = "Make it with 'uv lock', and commit it." if name == "uv.lock" else "Git restores it."
            raise ProjectError(f"{root / name} is missing: the image is made of it.", hint=hint)
        yield root / name
    for folder in FOLDERS:
        yield from sorted(
            path for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )


def reference(registry: ImageRegistry, kind: str) -> str:
    """Return the image of this very code, by its digest.

    Args:
        registry: the cloud's.
        kind: SERVE or TRAIN.

    Raises:
        ProjectError: nobody has pushed it.
    """
    name = tag(kind)
    digest = registry.find_digest(name)
    if digest is None:
        raise ProjectError(
            f"The registry has no image {name}, which is that of this very code.",
            hint=f"Push it first: 'uv run {config.current().package} image'.",
        )
    return f"{registry.repository}@{digest}"


def push(registry: ImageRegistry, engine: str | None, tell: Callable[[str], None]) -> dict[str, str]:
    """Build and push the images that the registry lacks.

    Args:
        registry: the cloud's.
        engine: docker or podman; None: the one that is there.
        tell: prints a line.

    Returns:
        Both images, by kind, by their digests.

    Raises:
        ProjectError: there is no engine, or it fails, or the registry refuses.
    """
    names = {kind: tag(kind) for kind in KINDS}
    missing = [kind for kind, name in names.items() if registry.find_digest(name) is None]
    if missing:
        engine = _engine(engine)
        for kind in missing:
            tell(f"{names[kind]}: building")
            _build(engine, kind, f"{registry.repository}:{names[kind]}")
        with _logged_in(registry, engine):
            for kind in missing:
                tell(f"{names[kind]}: pushing")
                _push(registry, engine, names[kind])
    return {kind: reference(registry, kind) for kind in KINDS}


def _engine(wanted: str | None) -> str:
    found = [name for name in ([wanted] if wanted else ENGINES) if shutil.which(name)]
    if not found:
        raise ProjectError(
            f"{wanted or 'Neither docker nor podman'} is not installed: one of them builds the images.",
            hint="Install Docker or Podman; or let the flow 'train' do this on the code host.",
        )
    if _run([found[0], "info"], quiet=True):
        raise ProjectError(
            f"{found[0]} is installed and does not answer: 'docker info' shows why.".replace("docker", found[0]),
            hint="Start it: Docker Desktop, 'systemctl start docker' or 'podman machine start'.",
        )
    return found[0]


def _build(engine: str, kind: str, address: str) -> None:
    words = ["build", "--platform", PLATFORM, "--build-arg", f"GROUP={kind}", "--tag", address, "."]
    if _run([engine, *words], environment=PLAIN):
        raise ProjectError(f"The image {address} could not be built.", hint="The last lines above say where.")


def _push(registry: ImageRegistry, engine: str, name: str) -> None:
    # Tags never move. Whoever was faster has pushed the image of this very code.
    if _run([engine, "push", f"{registry.repository}:{name}"]) and registry.find_digest(name) is None:
        raise ProjectError(
            f"The registry did not take the image {name}.",
            hint="The last lines above say why. If they say denied: infra/README.md tells which role may push.",
        )


@contextmanager
def _logged_in(registry: ImageRegistry, engine: str) -> Iterator[None]:
    """Log the engine in to the registry for a while: nothing of it stays on this machine."""
    user, password = registry.log_in()
    host = registry.repository.partition("/")[0]
    if _run([engine, "login", "--username", user, "--password-stdin", host], text=password, quiet=True):
        raise ProjectError(f"{engine} could not log in to {host}.", hint=f"Is the registry reachable? {engine} info")
    try:
        yield
    finally:
        _run([engine, "logout", host], quiet=True)


def _run(
    command: list[str], *, text: str | None = None, quiet: bool = False, environment: Mapping[str, str] | None = None
) -> int:
    """Run a command; what it prints is for people, so it goes to standard error."""
    output = subprocess.DEVNULL if quiet else 2
    finished = subprocess.run(
        command,
        cwd=config.current().root,
        input=text,
        text=True,
        stdout=output,
        stderr=output,
        env=os.environ | dict(environment or {}),
        check=False,
    )
    return finished.returncode
