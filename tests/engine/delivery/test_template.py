"""The verbs `update-template` and `propose`: the template's own command is started, and the code host is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twoloops.delivery import template
from twoloops.errors import ProjectError

from tests.engine.support.hosting import Host
from tests.engine.support.project import Project
from tests.engine.support.verbs import call
from tests.support.tools import need

# Stands in for uv: it writes down what it is asked, and ends as the command would.
UV = """
import pathlib, sys
pathlib.Path("asked.txt").write_text("\\n".join(sys.argv[1:]))
sys.exit(3)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a template's repository with releases, and a tag that is none."""
    folder = tmp_path / "the template"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=x"], cwd=folder, check=True)
    for tag in ("v0.9.0", "v0.10.0", "v1.0.0rc1", "newest"):
        subprocess.run(["git", "tag", tag], cwd=folder, check=True)
    return folder


def come_from(source: str) -> None:
    Path(template.ANSWERS).write_text(f"_commit: v0.9.0\n_src_path: {source}\n", encoding="utf-8")


@pytest.mark.usefixtures("bare_project")
def test_the_command_of_the_newest_release_is_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "bin/uv"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!{sys.executable}{UV}", encoding="utf-8")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}")
    come_from(str(source))
    Path("uv.toml").write_text("offline = false\n", encoding="utf-8")
    told = call("update-template", "--answer", "owner=a b", "--help")
    assert told.exit_code == 3, told.output
    asked = Path("asked.txt").read_text(encoding="utf-8").splitlines()
    start = ["--config-file", "uv.toml", "tool", "run", "--from", f"git+{source.as_uri()}@v0.10.0"]
    assert asked == [*start, "update-template", "--answer", "owner=a b", "--help"]


def signed(source: Path, folder: Path, tag: str, key: str = "key") -> None:
    """Sign a tag, and let the current project name the key called "key"."""
    for name in {"key", key}:
        if not (folder / name).exists():
            command = [need("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
            subprocess.run(command, check=True)
    Path("engine").mkdir(exist_ok=True)
    public = (folder / "key.pub").read_text(encoding="utf-8")
    Path(template.SIGNERS).write_text(f"# ours\nmaintainers {public}", encoding="utf-8")
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "gpg.format=ssh"]
    words = ["-c", f"user.signingKey={folder / key}", "tag", "--force", "--sign", f"--message={tag}", tag]
    subprocess.run(["git", *settings, *words], cwd=source, check=True, capture_output=True)


@pytest.mark.usefixtures("bare_project")
def test_only_what_a_signer_has_signed_is_run(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    come_from(str(source))
    assert template.verify(source.as_uri(), "v0.10.0") is None, "nobody is named"
    signed(source, tmp_path, "v0.9.0")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True, check=True)
    assert template.verify(source.as_uri(), "v0.9.0") == commit.stdout.strip()
    refused = {
        "a tag without a signature": ["tag", "--force", "v0.10.0", "HEAD"],
        "an annotated one": [
            "-c", "user.name=x", "-c", "user.email=x@y.example", "tag", "--force", "-a", "-m", "x", "v0.10.0",
        ],
        "another one's signature": ["update-ref", "refs/tags/v0.10.0", "refs/tags/v0.9.0"],
    }  # fmt: skip
    for what, words in refused.items():
        subprocess.run(["git", *words], cwd=source, check=True, capture_output=True)
        with monkeypatch.context() as patched:
            patched.setattr(template.subprocess, "run", no_uv(subprocess.run))
            with pytest.raises(ProjectError, match="not signed by one of engine/SIGNERS"):
                template.update(())
        assert what
    signed(source, tmp_path, "v0.10.0", key="another")
    with pytest.raises(ProjectError, match="not signed by one of engine/SIGNERS") as told:
        template.verify(source.as_uri(), "v0.10.0")
    assert "takes the lines out of engine/SIGNERS" in told.value.hint


def no_uv(run: Any) -> Any:
    """Return what starts programs, but for uv."""

    def start(command: list[str], **how: Any) -> Any:
        assert command[0] != "uv", "what is not signed was started"
        return run(command, **how)

    return start


@pytest.mark.usefixtures("bare_project")
@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("gh:acme/template", "https://github.com/acme/template"),
        ("gl:acme/template", "https://gitlab.com/acme/template"),
        ("git@git.example.com:acme/template.git", "ssh://git@git.example.com/acme/template.git"),
        ("git+https://git.example.com/acme/template", "https://git.example.com/acme/template"),
    ],
)
def test_addresses_are_written_as_uv_takes_them(written: str, address: str) -> None:
    come_from(written)
    assert template.address() == address


@pytest.mark.usefixtures("bare_project")
@pytest.mark.parametrize(
    "written",
    ["--upload-pack=x", "ext::sh -c true", "https://a.example/x y", "https://a.example/x#egg=y", "nowhere", "-x@y:z"],
)
def test_what_is_no_address_is_asked_of_nobody(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    come_from(f"'{written}'")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(ProjectError, match="no template's address") as told:
        template.update(())
    assert "git checkout" in told.value.hint


@pytest.mark.usefixtures("bare_project")
@pytest.mark.parametrize("written", ["http://a.example/x", "git://a.example/x", "git+http://a.example/x"])
def test_what_others_can_change_on_the_way_is_asked_of_nobody(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    come_from(written)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(ProjectError, match="on the way") as told:
        template.update(())
    assert "https or ssh" in told.value.hint


@pytest.mark.usefixtures("bare_project")
def test_what_is_out_of_reach_or_has_no_release_is_told(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="does not say which template"):
        template.update(())
    come_from((tmp_path / "missing").as_uri())
    with pytest.raises(ProjectError, match="cannot be reached"):
        template.update(())
    for tag in ("v0.9.0", "v0.10.0"):
        subprocess.run(["git", "tag", "--delete", tag], cwd=source, check=True, capture_output=True)
    come_from(str(source))
    with pytest.raises(ProjectError, match="has no release"):
        template.update(())


def test_a_change_is_proposed(bare_project: Project, hosted: Host) -> None:
    bare_project.configure(host="stand_in")
    (bare_project.folder / "page.md").write_text("# Ours\n", encoding="utf-8")
    told = call("propose", "template/1.0.0", "--title", "Update", "--body-file", "page.md", "--json")
    assert told.output == '{"url": "https://host.invalid/change"}\n'
    assert hosted.asked == ["propose template/1.0.0: Update"]
