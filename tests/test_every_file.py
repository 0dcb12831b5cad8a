"""Each file, for each distinct combination of the answers that it depends on, in its own language."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import hcl2
import yaml

from commands.answer_space import template
from extensions.organization.files import LEFTOVER, untidy

from .support.answers import combinations, single_answers

OURS = template()


class Yaml(yaml.SafeLoader):
    """Plain YAML, and the one tag of GitLab's."""


def _reference(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[Any]:
    return loader.construct_sequence(node)


Yaml.add_constructor("!reference", _reference)


def parse(name: str, text: str) -> None:
    """Parse a rendered file in the language that its name says.

    Raises:
        Exception: whatever the language's parser raises.
    """
    suffix = Path(name).suffix
    if suffix == ".py":
        ast.parse(text)
    elif suffix == ".toml":
        tomllib.loads(text)
    elif suffix in (".yaml", ".yml"):
        documents = list(yaml.load_all(text, Yaml))
        assert all(documents), name
    elif suffix == ".json":
        json.loads(text)
    elif suffix in (".tf", ".hcl", ".tfvars", ".tfbackend"):
        hcl2.loads(text)
    elif suffix == ".sh":
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    elif name == ".dvc/config":
        configparser.ConfigParser().read_string(text)
    else:
        assert suffix in (".md", "") or name in KNOWN_PLAIN, f"no parser for {name}: add one"


KNOWN_PLAIN = {".gitignore", ".dvc/.gitignore", ".dvcignore"}


def clean(name: str, text: str) -> None:
    """Demand what a careful author's file has."""
    assert not untidy(name, text), f"{name}: {untidy(name, text)}"
    assert "TODO" not in text, name


def test_every_file_for_every_combination() -> None:
    count = 0
    for file, answers in OURS.distinct_renders(combinations()):
        name, text = file.render(answers)
        clean(name, text)
        assert "{" not in name, name
        if file.path.suffix == ".jinja" and "${{" not in text:
            assert not LEFTOVER.search(text) or name.endswith((".py", ".hcl")), f"{name}: Jinja is left over"
        parse(name, text)
        count += 1
    assert count >= len(OURS.files())


def test_the_default_project_is_small() -> None:
    answers = OURS.all_answers({})
    files = [file for file in OURS.files() if file.key(answers) is not None]
    # Both loops with a service, its deployment, the monitor, the stack, the flows and their tests.
    assert len(files) + 1 <= 140


def test_no_answer_of_one_project_stands_in_another() -> None:
    """Names of the default project are answers, not constants: no other project may hold them."""
    given = {"project_name": "Zebra", "package_name": "zebra", "owner": "herd", "description": "Counts stripes."}
    given["environments"] = "dev, live"
    for file, answers in OURS.distinct_renders({**given, **row} for row in single_answers().values()):
        name, text = file.render(answers)
        constants = re.findall(r"ml-team|copier_mlops|\bchurn (?:simulate|run|check)|uv run churn|src/churn", text)
        if "tests" not in Path(name).parts:  # there it is a name like any other; a tier is one of GitLab's own words
            constants += re.findall(r'^(?!.*"tier").*\bstaging\b', text, re.MULTILINE)
        assert not constants, f"{name}: {constants}"


def test_params_yaml_says_the_defaults_that_hold_without_it() -> None:
    """A section that came later has defaults in params.py; a fresh params.yaml spells out the same."""
    answers = OURS.all_answers({"serving_mode": "online_and_batch"})
    files = dict(file.render(answers) for file in OURS.files() if file.key(answers) is not None)
    shown = yaml.safe_load(files["params.yaml"])
    classes = {
        node.name: node for node in ast.parse(files["src/churn/params.py"]).body if isinstance(node, ast.ClassDef)
    }
    for section in ("serve", "deploy", "score", "monitor", "scan"):
        defaults = {}
        for field in classes[f"{section.title()}Params"].body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value:
                value = next((key.value for key in getattr(field.value, "keywords", [])), field.value)
                default = ast.literal_eval(value)
                defaults[field.target.id] = list(default) if isinstance(default, tuple) else default
        assert shown[section] == defaults
        for key, value in defaults.items():
            page = files["docs/parameters.md"].split(f"### `{section}.{key}`")[1].split("###")[0]
            word = json.dumps(value).strip('"') if value != [] else "empty"
            assert f"Default: {word}." in page or f"Default: `{word}`." in page, key
