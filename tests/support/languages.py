"""What a rendered file has to be, by the language that its name says."""

from __future__ import annotations

import ast
import configparser
import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import hcl2
import jinja2
import yaml

from extensions.organization.files import untidy

# Files that are read by their name and not by a suffix.
PLAIN = {".gitignore", ".gitattributes", ".dvc/.gitignore", ".dvcignore"}


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
    if suffix in (".py", ".pyi"):
        ast.parse(text)
    elif suffix == ".toml" or name == "uv.lock":
        tomllib.loads(text)
    elif suffix in (".yaml", ".yml"):
        documents = list(yaml.load_all(text, Yaml))
        assert all(documents), name
    elif suffix in (".json", ".ipynb"):
        json.loads(text)
    elif suffix in (".tf", ".hcl", ".tfvars", ".tfbackend"):
        hcl2.loads(text)
    elif suffix == ".sh":
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    elif suffix == ".j2":  # a page of the engine's: twoloops/pages
        jinja2.Environment(autoescape=True).parse(text)
    elif name == ".dvc/config":
        configparser.ConfigParser().read_string(text)
    else:
        assert suffix in (".md", ".txt", ".tpl", "") or name in PLAIN, f"no parser for {name}: add one"


def clean(name: str, text: str) -> None:
    """Demand what a careful author's file has."""
    assert not untidy(name, text), f"{name}: {untidy(name, text)}"
    assert "TODO" not in text, name
