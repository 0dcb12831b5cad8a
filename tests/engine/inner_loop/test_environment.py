"""The versions of what computes, out of uv.lock."""

from __future__ import annotations

from pathlib import Path

import pytest
from twoloops.errors import ProjectError
from twoloops.inner_loop import environment

LOCK = """
version = 1

[[package]]
name = "churn"
version = "0.1.0"
source = { editable = "." }
dependencies = [{ name = "twoloops" }]
[package.optional-dependencies]
plots = [{ name = "plotter" }]
[package.dev-dependencies]
dev = [{ name = "ruff" }, { name = "numpy" }]
serve = [{ name = "twoloops", extra = ["online"] }]
train = [{ name = "twoloops", extra = ["training"] }]

[[package]]
name = "twoloops"
version = "0.3.0"
source = { editable = "engine" }
dependencies = [{ name = "numpy", version = "1.0" , marker = "a" }, { name = "numpy", version = "2.0", marker = "b" }]
[package.optional-dependencies]
online = [{ name = "uvicorn" }]
training = [{ name = "trainer" }, { name = "twoloops" }]
ray = [{ name = "ray" }]

[[package]]
name = "numpy"
version = "1.0"
source = { registry = "https://packages.example" }

[[package]]
name = "numpy"
version = "2.0"
source = { registry = "https://packages.example" }

[[package]]
name = "trainer"
version = "3.0"
source = { git = "https://git.example/trainer#0123abc" }
dependencies = [{ name = "solver" }]

[[package]]
name = "solver"
version = "4.0"
source = { registry = "https://packages.example" }

[[package]]
name = "plotter"
source = { directory = "../plotter" }

[[package]]
name = "ruff"
version = "0.1"
source = { registry = "https://packages.example" }

[[package]]
name = "uvicorn"
version = "0.2"
source = { registry = "https://packages.example" }

[[package]]
name = "ray"
version = "0.3"
source = { registry = "https://packages.example" }
"""


def test_what_computes_is_told_and_no_tool(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text(LOCK, encoding="utf-8")
    assert environment.resolve(tmp_path) == {
        "numpy": "1.0, 2.0",
        "plotter": "of its own source",
        "solver": "4.0",
        "trainer": "3.0 from https://git.example/trainer#0123abc",
        "twoloops": "0.3.0",
    }


def test_another_registry_or_tool_is_no_other_environment(tmp_path: Path) -> None:
    """Two people who install from different places train the same model."""
    (tmp_path / "uv.lock").write_text(LOCK, encoding="utf-8")
    before = environment.resolve(tmp_path)
    changed = LOCK.replace("packages.example", "mirror.example").replace('"0.1"', '"0.9"').replace('"0.2"', '"0.9"')
    (tmp_path / "uv.lock").write_text(changed, encoding="utf-8")
    assert environment.resolve(tmp_path) == before
    (tmp_path / "uv.lock").write_text(LOCK.replace('"4.0"', '"4.1"'), encoding="utf-8")
    assert environment.resolve(tmp_path) == before | {"solver": "4.1"}


def test_without_a_whole_lock_file_what_is_installed_is_told(tmp_path: Path) -> None:
    assert environment.resolve(tmp_path)["pytest"] == pytest.__version__
    # As a project begins: versions for uv to take, and nothing of the project.
    begun = 'version = 1\npackage = [{ name = "pytest", version = "0", source = { registry = "." } }]'
    (tmp_path / "uv.lock").write_text(begun, encoding="utf-8")
    assert environment.resolve(tmp_path)["pytest"] == pytest.__version__


@pytest.mark.parametrize("text", ["[", "version = 1"])
def test_what_is_no_lock_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "uv.lock").write_text(text, encoding="utf-8")
    with pytest.raises(ProjectError, match=r"uv\.lock is no lock file"):
        environment.resolve(tmp_path)
