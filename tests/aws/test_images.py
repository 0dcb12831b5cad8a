"""The verb `image`: a real Podman builds and pushes to a real registry on loopback, which asks for the login."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Installed, install, need
from tests.support import podman
from tests.support.aws.account import REPOSITORY, Account, account
from tests.support.aws.registry import Registry, registry

pytestmark = pytest.mark.slow
# What the project's own Dockerfile makes is built in tests/test_stack.py. Here it is about the way to the registry.
DOCKERFILE = 'FROM scratch\nARG GROUP=serve\nLABEL group="$GROUP"\nCOPY README.md /\n'


@dataclass
class Pushing:
    """An account whose registry takes images."""

    account: Account
    registry: Registry
    settings: dict[str, str]

    def image(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        engine = podman.settings() | self.settings
        return self.account.verb("image", "--engine", "podman", *words, code=code, env=engine)


@contextmanager
def pushing(project: Installed, folder: Path) -> Iterator[Pushing]:
    with account(project, folder) as there, registry(there.client("ecr")) as held:
        repository = f"{held.address}/{REPOSITORY}"
        there.settle(image_repository=repository)
        try:
            yield Pushing(there, held, held.settings(folder))
        finally:
            podman.forget(repository)


def labels(settings: Mapping[str, str], image: str) -> dict[str, str]:
    (about,) = json.loads(podman.call("inspect", image, env=settings).stdout)
    found: dict[str, str] = about["Config"]["Labels"]
    return found


def test_images_are_pushed_once(tmp_path: Path) -> None:
    need("podman")
    project = install(tmp_path / "project", {"infrastructure": "aws", "serving_mode": "batch"})
    (project.folder / "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
    with pushing(project, tmp_path) as there:
        refused_words(there)
        first = json.loads(there.image("--json").stdout)
        assert sorted(re.sub("-.*", "", tag) for tag in there.registry.pushed) == ["serve", "train"]
        for kind, reference in first.items():
            assert re.fullmatch(rf"{re.escape(there.registry.address)}/{REPOSITORY}@sha256:[0-9a-f]{{64}}", reference)
            podman.call("pull", "--quiet", "--creds", there.registry.login(), reference, env=there.settings)
            assert labels(there.settings, reference)["group"] == kind
        # Nothing of the login stays on the machine.
        assert json.loads(Path(there.settings["REGISTRY_AUTH_FILE"]).read_text(encoding="utf-8")).get("auths") in (
            {},
            None,
        )
        assert json.loads(there.image("--json").stdout) == first
        assert len(there.registry.pushed) == 2
        (project.folder / "README.md").write_text("other", encoding="utf-8")
        assert json.loads(there.image("--json").stdout) != first
        assert len(there.registry.pushed) == 4


def refused_words(there: Pushing) -> None:
    """What goes wrong is told, and the next try is as the first."""
    there.registry.denies = True
    finished = there.image(code=1)
    assert "The registry did not take the image serve-" in finished.stderr
    assert "ecr:InitiateLayerUpload" in finished.stderr
    assert "Traceback" not in finished.stderr
    there.registry.denies = False
    there.account.refuse("GetAuthorizationToken", "AccessDeniedException")
    assert "the login may not do that" in there.image(code=1).stderr
    there.account.recover()
    lock = there.account.project.folder / "uv.lock"
    content = lock.read_bytes()
    lock.unlink()
    assert "uv.lock is missing" in there.image(code=1).stderr
    lock.write_bytes(content)
