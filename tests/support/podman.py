"""Podman where no Docker is: the settings that a container inside a container needs, and a base image.

Images come from a registry where one can be reached. Elsewhere those that a Dockerfile begins with are
made here under the same names: Debian by mmdebstrap, with a Python that is on this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from filelock import FileLock

from commands.rendering import clean_environment

from .tools import MEMORY, UV, need

PYTHON = "docker.io/library/python:3.12-slim"
UV_IMAGE = "ghcr.io/astral-sh/uv"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# crun refuses the control groups of a machine that is a container itself, and there is no systemd to ask.
ENGINE = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
cgroupns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
# Images are kept between runs: the base alone takes half a minute.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "copier-mlops" / "containers"
MOST_BYTES = 8e9  # of two images, while they are built


@cache
def settings() -> dict[str, str]:
    """Return the variables by which podman works here, for programs that call it."""
    # Of the two formats of images only Docker's knows health checks. No layer is kept for a next build.
    ours = {"BUILDAH_FORMAT": "docker", "BUILDAH_ISOLATION": "chroot", "BUILDAH_LAYERS": "false"}
    if os.geteuid():
        return ours  # a user's own Podman is set up already
    need("runc")
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "containers.conf").write_text(ENGINE, encoding="utf-8")
    storage = f'[storage]\ndriver = "overlay"\nrunroot = "{CACHE}/run"\ngraphroot = "{CACHE}/images"\n'
    (CACHE / "storage.conf").write_text(storage, encoding="utf-8")
    return ours | {
        "CONTAINERS_CONF": str(CACHE / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(CACHE / "storage.conf"),
    }


def _environment() -> dict[str, str]:
    return clean_environment() | settings()


def call(
    *words: str | Path,
    code: int | None = 0,
    program: Sequence[str] = ("podman",),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run podman, or a program that uses it, and demand its exit code (None: any but 0)."""
    need("podman")
    environment = _environment() | dict(env or {})
    finished = subprocess.run(
        [*program, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    expected = finished.returncode != 0 if code is None else finished.returncode == code
    assert expected, f"{words}: {finished.returncode}\n{finished.stdout}\n{finished.stderr}"
    return finished


def has(image: str) -> bool:
    """Say whether an image is here, or can be had from its registry at once."""
    need("podman")
    for command in (["podman", "image", "exists", image], ["timeout", "20", "podman", "pull", "--quiet", image]):
        if subprocess.run(command, env=_environment(), capture_output=True, check=False).returncode == 0:
            return True
    return False


def forget(repository: str) -> None:
    """Remove every image of a repository."""
    found = call("images", "--quiet", "--no-trunc", "--filter", f"reference={repository}").stdout.split()
    if found:
        call("rmi", "--force", "--ignore", *sorted(set(found)))


@contextmanager
def own_store(folder: Path) -> Iterator[dict[str, str]]:
    """Give settings by which podman keeps what it makes apart; remove it. No other test meets what is there.

    It lies in memory where there is room, else in the folder: on a disk that gives freed blocks back at once, the end
    of each container waits twenty seconds for those of a build.

    Layers are kept there for the next build: without them Podman 4 deletes, after a build, the image of a stage that
    adds nothing to it, and the next one does not find it.
    """
    ours = settings() | {"BUILDAH_LAYERS": "true"}
    if os.geteuid():
        yield ours  # where a user's own Podman keeps its images
        return
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MOST_BYTES:
        folder = Path(tempfile.mkdtemp(prefix="containers-", dir=MEMORY))
    text = (CACHE / "storage.conf").read_text(encoding="utf-8").replace(str(CACHE), str(folder))
    (folder / "storage.conf").write_text(text, encoding="utf-8")
    ours["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")
    try:
        yield ours
    finally:
        call("rm", "--all", "--force", "--time=0", env=ours)
        call("rmi", "--all", "--force", env=ours)
        shutil.rmtree(folder, ignore_errors=True)


def base_images(uv_tag: str, store: Mapping[str, str] | None = None) -> None:
    """See to it that the images which the Dockerfile begins with are here, and copies in a store of its own."""
    need("podman")
    images = (PYTHON, f"{UV_IMAGE}:{uv_tag}")
    theirs = settings().get("CONTAINERS_STORAGE_CONF")
    with FileLock(CACHE.with_suffix(".lock")):
        if not has(images[0]):
            _make_python(images[0])
        if not has(images[1]):
            _make_uv(images[1])
        if store and store.get("CONTAINERS_STORAGE_CONF") != theirs:
            archive = Path(store["CONTAINERS_STORAGE_CONF"]).with_name("base.tar")
            call("save", "--quiet", "--multi-image-archive", "--output", archive, *images)
            call("load", "--quiet", "--input", archive, env=store)
            archive.unlink()


def _python() -> Path:
    """Return the folder of a Python 3.12; of the one that runs the tests when there is none."""
    places = [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.12.*/bin"))]
    command = [UV, "python", "find", "--no-python-downloads", "--no-project", "3.12"]
    environment = clean_environment() | {"UV_PYTHON_SEARCH_PATH": os.pathsep.join(places)} if places else None
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()).resolve().parents[1] if found.returncode == 0 else Path(sys.base_prefix)


def _make_python(image: str) -> None:
    """Make Debian with a Python in /usr/local and what signs this machine's connections.

    As python:3.12-slim it has pip and no compiler.
    """
    prefix = _python()
    version = next(path.name for path in sorted(prefix.glob("lib/python3.*"))).removeprefix("python")
    hook = " && ".join(
        [
            'mkdir -p "$1/usr/local"',
            f'tar -C "{prefix}" --exclude=test --exclude=__pycache__ -c bin lib | tar -C "$1/usr/local" -x',
            f'ln -sf python{version} "$1/usr/local/bin/python"',
            f'ln -sf python{version} "$1/usr/local/bin/python3"',
            f'cp -L {CERTIFICATES} "$1{CERTIFICATES}"',
            'chroot "$1" ldconfig',
        ]
    )
    libraries = "libssl3,libffi8,libsqlite3-0,libreadline8,libncursesw6,libexpat1,libuuid1,liblzma5,libbz2-1.0"
    command = [
        *[need("mmdebstrap"), "--quiet", "--variant=essential"],
        *[f"--include=apt,ca-certificates,netbase,tzdata,passwd,{libraries}", f"--customize-hook={hook}"],
        *["bookworm", str(CACHE / "base.tar")],
    ]
    subprocess.run(command, check=True, capture_output=True)
    environment = {
        "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SSL_CERT_FILE": CERTIFICATES,
        "PIP_CERT": CERTIFICATES,
    }
    changes = [f"--change=ENV {name}={value}" for name, value in environment.items()]
    call("import", "--quiet", *changes, "--change=CMD python3", CACHE / "base.tar", image)
    (CACHE / "base.tar").unlink()


def _make_uv(image: str) -> None:
    program = shutil.which(UV)
    assert program
    folder = CACHE / "uv"
    folder.mkdir(exist_ok=True)
    shutil.copy(Path(program).resolve(), folder / "uv")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY uv /uv\n", encoding="utf-8")
    call("build", "--quiet", "--tag", image, folder)
