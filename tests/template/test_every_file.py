"""Each file, for each distinct combination of the answers that it depends on, in its own language."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import yaml

from commands.answer_space import template
from commands.rendering import TEMPLATE
from extensions.organization.files import LEFTOVER
from tests.support.answers import combinations, single_answers
from tests.support.languages import clean, parse

OURS = template()
ENGINE = TEMPLATE / "template/engine"
# Compiled code, and the marker of a typed package, have nothing to read.
EMPTY = {"engine/src/twoloops/py.typed"}


def rendered(given: dict[str, object]) -> dict[str, str]:
    """Return the project's own files for some answers, without the engine."""
    files = OURS.render(OURS.all_answers(given), origin={"_src_path": "template"})
    return {path: file.content.decode() for path, file in files.items() if not path.startswith("engine/")}


def test_every_file_for_every_combination() -> None:
    count = 0
    for file, answers in OURS.distinct_renders(combinations()):
        name, text = file.render(answers)
        count += 1
        if name in EMPTY:
            assert not text, name
            continue
        clean(name, text)
        assert "{" not in name, name
        if file.path.suffix == ".jinja" and "${{" not in text:
            assert not LEFTOVER.search(text) or name.endswith((".py", ".hcl")), f"{name}: Jinja is left over"
        parse(name, text)
    assert count >= len(OURS.files())


def test_projects_are_small() -> None:
    """What its owner looks after: the engine beside it is read, and not edited."""
    default = rendered({})
    assert len(default) <= 50
    assert sum(text.count("\n") for text in default.values()) <= 3000
    assert len(rendered({"infrastructure": "aws"})) <= 105
    assert len(rendered({"infrastructure": "aws", "ci_provider": "azure_devops"})) <= 111
    assert len(rendered({"infrastructure": "kubernetes"})) <= 75
    assert default["README.md"].count("\n") <= 120
    sources = [text for path, text in default.items() if path.startswith("src/") and "/problem/" not in path]
    assert sum(len(text.splitlines()) for text in sources) <= 1, "below src/ is no Python of ours"


def test_no_answer_of_one_project_stands_in_another() -> None:
    """Names of the default project are answers, not constants: no other project may hold them."""
    given = {"project_name": "Zebra", "package_name": "zebra", "owner": "herd", "description": "Counts stripes."}
    given["environments"] = "dev, live"
    for file, answers in OURS.distinct_renders({**given, **row} for row in single_answers().values()):
        name, text = file.render(answers)
        if name.startswith("engine/"):
            continue  # the same in every project: there it is an example
        constants = re.findall(r"ml-team|copier_mlops|\bchurn (?:simulate|run|check)|uv run churn|src/churn", text)
        if "tests" not in Path(name).parts:  # there it is a name like any other; a tier is one of GitLab's own words
            constants += re.findall(r'^(?!.*"tier").*\bstaging\b', text, re.MULTILINE)
        assert not constants, f"{name}: {constants}"


def test_a_notebook_has_no_outputs_and_takes_the_projects_own_load() -> None:
    notebook = json.loads(rendered({})["notebooks/exploration.ipynb"])
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    code = "\n".join("".join(cell["source"]) for cell in cells)
    ast.parse(code)
    assert "from churn.problem import data" in code
    assert "data.load(" in code


def test_what_is_the_users_imports_nothing_below_the_public_api() -> None:
    for problem_type in ("classification", "regression"):
        for path, text in rendered({"problem_type": problem_type}).items():
            if path.endswith((".py", ".ipynb")):
                assert not re.search(r"(from|import) twoloops\.", text), path


def test_params_yaml_says_the_defaults_that_hold_without_it() -> None:
    """A section that came later has defaults in the engine; a fresh params.yaml and its page say the same."""
    shown = yaml.safe_load(rendered({"serving_mode": "online_and_batch"})["params.yaml"])
    source = (ENGINE / "src/twoloops/params.py").read_text(encoding="utf-8")
    pages = (ENGINE / "docs/parameters.md").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    for section in ("serve", "deploy", "score", "monitor", "scan"):
        defaults = {}
        for field in classes[f"{section.title()}Params"].body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value:
                value = next((key.value for key in getattr(field.value, "keywords", [])), field.value)
                default = ast.literal_eval(value)
                defaults[field.target.id] = list(default) if isinstance(default, tuple) else default
        assert shown[section] == defaults
        for key, value in defaults.items():
            page = pages.split(f"### `{section}.{key}`")[1].split("###")[0]
            word = json.dumps(value).strip('"') if value != [] else "empty"
            assert f"Default: {word}." in page or f"Default: `{word}`." in page, key
