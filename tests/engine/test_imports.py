"""The engine's rules of dependency: who may import whom, what a service never loads, and who speaks to the terminal."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from commands.rendering import TEMPLATE

SOURCE = TEMPLATE / "template/engine/src/twoloops"
# What trains, and what only trains needs: none of it is in the image that serves.
TRAINING = ("alembic", "dvc", "matplotlib", "mlflow", "onnx", "optuna", "pandas", "pandera", "skl2onnx", "sklearn")


def check_rules(folder: Path) -> subprocess.CompletedProcess[str]:
    """Hold the package below `folder` to [tool.importlinter]."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--config", TEMPLATE / "pyproject.toml", "--no-cache"],
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_rooms_import_what_they_may() -> None:
    done = check_rules(SOURCE.parent)
    assert done.returncode == 0, done.stdout


AGAINST_THE_RULES = [
    ("contracts.release", "registry"),
    ("contracts.platform", "platforms.local"),
    ("problems.tabular.contract", "platforms"),
    ("inner_loop.train", "platforms.local"),
    ("inner_loop.train", "verbs"),
    ("outer_loop.deploy", "platforms"),
    ("outer_loop.deploy", "hosts"),
    ("platforms.aws.login", "hosts.github"),
    ("hosts.github.host", "platforms.aws"),
    ("service.app", "outer_loop.monitoring"),
    ("service.app", "scoring"),
    ("scoring.run", "outer_loop.promote"),
    ("artifact", "outer_loop"),
    ("registry", "verbs"),
    ("storage", "artifact"),
    ("errors", "config"),
]


def test_imports_against_the_rules_are_found(tmp_path: Path) -> None:
    """Each in a function; and a module that has no floor is found as well."""
    shutil.copytree(SOURCE, tmp_path / "twoloops", ignore=shutil.ignore_patterns("__pycache__"))
    for importer, imported in AGAINST_THE_RULES:
        with (tmp_path / "twoloops" / f"{importer.replace('.', '/')}.py").open("a", encoding="utf-8") as file:
            file.write(f"\n\ndef _against_the_rules() -> None:\n    import twoloops.{imported}\n")
    done = check_rules(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "->" in line]
    missed = [
        (importer, imported)
        for importer, imported in AGAINST_THE_RULES
        if not any(f"twoloops.{importer} -> twoloops.{imported} (" in line for line in lines)
    ]
    assert not missed, done.stdout


def test_a_module_without_a_floor_is_found(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "twoloops", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "twoloops/elsewhere.py").write_text("", encoding="utf-8")
    done = check_rules(tmp_path)
    assert done.returncode == 1
    assert "elsewhere" in done.stdout


def loaded_by(*modules: str) -> set[str]:
    """Return the distributions' top-level names that are loaded when these modules are."""
    code = f"import importlib, json, sys; [importlib.import_module(name) for name in {modules!r}]; "
    code += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def modules(room: str) -> list[str]:
    paths = sorted((SOURCE / room).rglob("*.py"))
    return [path.relative_to(SOURCE.parent).with_suffix("").as_posix().replace("/", ".") for path in paths]


def test_a_service_loads_nothing_that_trains() -> None:
    found = loaded_by("twoloops.cli", *modules("service"))
    assert not found & set(TRAINING)
    assert {"msgspec", "onnxruntime"} & found  # so that the name of a module has not just changed


def test_batch_scoring_loads_nothing_that_trains() -> None:
    assert not loaded_by(*modules("scoring")) & set(TRAINING)


def test_the_public_api_and_the_command_load_little() -> None:
    assert not loaded_by("twoloops", "twoloops.cli") & {*TRAINING, "numpy", "onnxruntime", "pyarrow", "pydantic"}


def test_what_is_not_allowed_to_load_would_be_seen() -> None:
    assert "pandas" in loaded_by("twoloops", "pandas")


def speakers(source: Path) -> set[str]:
    """Return the modules that import Typer or Click."""
    found = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] in ("typer", "click") for name in names):
                found.add(path.relative_to(source).as_posix())
    return found


def test_only_verbs_end_the_process_and_speak_to_the_terminal(tmp_path: Path) -> None:
    """All others raise a ProjectError, whose code the command exits with."""
    assert {name for name in speakers(SOURCE) if not name.startswith("verbs/")} == {"cli.py"}
    (tmp_path / "deploy.py").write_text("def stop() -> None:\n    import typer\n    raise typer.Exit(2)\n")
    assert speakers(tmp_path) == {"deploy.py"}
