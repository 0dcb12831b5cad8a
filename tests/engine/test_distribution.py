"""The engine as a distribution: wheel and sdist are whole, pass an index's checks, and work outside the repository."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from twoloops import config

from commands.rendering import TEMPLATE, clean_environment

ENGINE = TEMPLATE / "template/engine"
UV = shutil.which("uv") or "uv"
TOOLS = Path(sys.executable).parent
PROJECT = """\
[tool.twoloops]
package = "churn"
problem = "classification"
platform = "local"
host = "github"
owner = "ml-team"
"""


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def project(folder: Path) -> dict[str, str]:
    table: dict[str, str] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel and the sdist, built from a copy: a build leaves nothing in the repository."""
    folder = tmp_path_factory.mktemp("built")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ENGINE).split("\0")
    for name in filter(None, listed):
        target = folder / "engine" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ENGINE / name, target)
    run(UV, "build", "--quiet", "--out-dir", folder / "dist", folder / "engine", cwd=folder)
    return folder / "dist"


@pytest.fixture
def wheel(built: Path) -> Path:
    [found] = built.glob("*.whl")
    return found


def about(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return message_from_string(archive.read(name).decode())


def test_the_engine_has_the_version_of_the_template() -> None:
    assert project(ENGINE)["version"] == project(TEMPLATE)["version"]
    assert project(ENGINE)["requires-python"] == project(TEMPLATE)["requires-python"]


def test_an_index_would_take_both(built: Path, wheel: Path) -> None:
    run(TOOLS / "twine", "check", "--strict", *built.glob("twoloops*"), cwd=built)
    run(TOOLS / "check-wheel-contents", wheel, cwd=built)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    code = {path.relative_to(ENGINE / "src").as_posix() for path in (ENGINE / "src").rglob("*.py")}
    described = {name for name in names if ".dist-info/" in name}
    pages = {path.relative_to(ENGINE / "src").as_posix() for path in (ENGINE / "src").rglob("*.j2")}
    assert pages
    data = {"twoloops/py.typed", "twoloops/proved.txt", "twoloops/problems/tabular/drafting/rendered.json"}
    assert names - described == {*code, *pages, *data}
    assert any(name.endswith("licenses/LICENSE") for name in described)
    for kind, name in (("problems", "classification"), ("platforms", "local"), ("hosts", "github")):
        assert f"[twoloops.{kind}]" in points
        assert f"{name} = twoloops.{kind}." in points
    metadata = about(wheel)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ENGINE / "README.md").read_text(encoding="utf-8")


def test_the_sdist_holds_what_explains_it(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    docs = {path.relative_to(ENGINE).as_posix() for path in (ENGINE / "docs").rglob("*.md")}
    assert {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "src/twoloops/py.typed", *docs} <= names
    assert not any("test" in Path(name).parts or "__pycache__" in name for name in names)


@pytest.mark.slow
def test_it_installs_and_works_outside_the_repository(built: Path, tmp_path: Path) -> None:
    """With the core alone: from the wheel, and from the sdist as a stranger would build it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / config.FILE).write_text(PROJECT, encoding="utf-8")
    for kind in ("*.whl", "*.tar.gz"):
        [package] = built.glob(kind)
        environment = tmp_path / kind.strip("*.")
        run(UV, "venv", "--quiet", environment, cwd=folder)
        python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        run(UV, "pip", "install", "--quiet", "--python", python, package, cwd=folder)
        version = run(python, "-c", "import twoloops, sys; print(sys.modules['twoloops'].__file__)", cwd=folder)
        assert str(environment) in version
        told = run(python, "-m", "twoloops", "--help", cwd=folder)
        assert all(verb in told for verb in ("train", "deploy", "serve", "doctor"))
        done = subprocess.run(
            [python, "-m", "twoloops", "doctor"], cwd=folder, capture_output=True, text=True, check=False
        )
        assert f"engine {project(ENGINE)['version']}, installed from a wheel, unmodified" in done.stdout
        assert done.returncode == 1  # there is no params.yaml, for one
    # What is changed in an installed copy is named.
    cli = run(python, "-c", "import twoloops.cli; print(twoloops.cli.__file__)", cwd=folder).strip()
    with Path(cli).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    done = subprocess.run([python, "-m", "twoloops", "doctor"], cwd=folder, capture_output=True, text=True, check=False)
    assert "is not as it was built: twoloops/cli.py" in done.stdout


def test_its_page_names_every_key_every_extra_and_every_room() -> None:
    page = (ENGINE / "README.md").read_text(encoding="utf-8")
    keys = [each.name for each in dataclasses.fields(config.Config) if each.name not in ("root", "platform_settings")]
    assert [key for key in keys if f"\n| `{key}` |" not in page] == []
    table = tomllib.loads((ENGINE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = page.partition("## Extras")[2].partition("\n## ")[0]
    assert [extra for extra in table["optional-dependencies"] if f"`{extra}`" not in extras] == []
    rooms = page.partition("## Where what stands")[2].partition("\n## ")[0]
    folders = [path.parent.name for path in (ENGINE / "src/twoloops").glob("*/__init__.py")]
    assert [name for name in folders if f"`{name}/`" not in rooms] == []
    points = table["entry-points"]
    named = [name for kind in points.values() for name in kind if f"`{name}`" not in page]
    assert named == []
