"""The public API: each name is there, described and typed; what is to go warns; and user files import nothing else."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import twoloops
from packaging.version import Version

from commands import api
from commands.rendering import TEMPLATE

INIT = Path(twoloops.__file__)


@pytest.mark.parametrize("name", twoloops.__all__)
def test_each_name_is_described_and_typed(name: str) -> None:
    value = getattr(twoloops, name)
    assert inspect.getdoc(value)
    if not inspect.isclass(value):
        signature = inspect.signature(value)
        assert signature.return_annotation is not signature.empty
        assert all(each.annotation is not each.empty for each in signature.parameters.values())
    for part, member in vars(value).items() if inspect.isclass(value) else ():
        if not part.startswith("_") and (inspect.isfunction(member) or isinstance(member, property | classmethod)):
            assert inspect.getdoc(member), part


def test_the_page_says_what_the_code_says() -> None:
    assert api.PAGE.read_text(encoding="utf-8") == api.page(), "Write the page anew: uv run api"


def test_names_and_their_homes_are_the_same_for_people_for_types_and_for_imports() -> None:
    tree = ast.parse(INIT.read_text(encoding="utf-8"))
    [for_types] = [each for each in tree.body if isinstance(each, ast.If)]
    homes = {}
    for each in for_types.body:
        assert isinstance(each, ast.ImportFrom)
        for alias in each.names:
            original = f":{alias.name}" if alias.asname else ""
            homes[alias.asname or alias.name] = f"{each.module or ''}{original}".removeprefix("twoloops.")
    assert homes == twoloops._HOMES
    assert sorted(twoloops.__all__) == list(twoloops.__all__) == sorted(homes)
    assert set(twoloops.__all__) <= set(dir(twoloops))


def test_an_unknown_name_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'crown'"):
        twoloops.crown  # noqa: B018


def test_a_name_that_goes_works_and_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(twoloops._DEPRECATED, "split_by_time", ("by_time", "2.0.0"))
    for _ in range(2):  # each time: who imports it twice is told twice
        with pytest.warns(
            DeprecationWarning, match=r"twoloops\.split_by_time goes in 2\.0\.0; use twoloops\.by_time"
        ) as told:
            from twoloops import split_by_time
        assert split_by_time is twoloops.by_time
        assert told[0].filename == __file__  # where the name is used, not where it was


def test_names_that_go_have_not_outlived_their_version() -> None:
    version = Version(re.findall(r'^version = "(.*)"$', (TEMPLATE / "pyproject.toml").read_text(), re.MULTILINE)[0])
    for name, (replacement, gone_in) in twoloops._DEPRECATED.items():
        assert name not in twoloops.__all__
        assert replacement in twoloops.__all__
        assert version < Version(gone_in), f"{name} was to go in {gone_in}"


def test_the_package_itself_loads_nothing() -> None:
    code = "import sys, twoloops; print([name for name in sys.modules if name.startswith('twoloops.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def user_files() -> Iterator[Path]:
    """Give the files that a project gets once and that are its owner's from then on."""
    for layer in (TEMPLATE / "template").glob("{{ layer.problem_*"):
        yield from (path for path in layer.rglob("*") if path.suffix == ".py" or path.name.endswith(".py.jinja"))


def foreign_imports(text: str) -> list[str]:
    """Return what a file takes from the engine beside the public API. Read by lines: Jinja may stand between them."""
    found = re.findall(r"^\s*(?:from|import)\s+(twoloops\.[\w.]+)", text, re.MULTILINE)
    for names in re.findall(r"^\s*from\s+twoloops\s+import\s+(\([^)]*\)|.*)$", text, re.MULTILINE):
        imported = [each.split(" as ")[0].strip() for each in re.sub(r"[()]|#.*", "", names).split(",")]
        found += [name for name in imported if name and name not in twoloops.__all__]
    return found + [name for name in re.findall(r"\btwoloops\.(\w+)", text) if name not in twoloops.__all__]


def test_user_files_import_the_public_api_alone() -> None:
    files = list(user_files())
    assert len(files) > 10
    texts = {path.relative_to(TEMPLATE).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert any("from twoloops import" in text for text in texts.values())
    assert {path: found for path, text in texts.items() if (found := foreign_imports(text))} == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from twoloops import by_time, Split as Parts", []),
        ("from twoloops import (\n    by_time,  # a\n    artifact,\n)", ["artifact"]),
        ("    from twoloops.artifact import encode", ["twoloops.artifact", "artifact"]),
        ("import twoloops\ntwoloops.registry.find()", ["registry"]),
    ],
)
def test_what_is_private_is_found(line: str, found: list[str]) -> None:
    assert foreign_imports(line) == found
