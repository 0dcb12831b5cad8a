"""`uv run expected-files`: write down which file comes with which layer, for a reviewer to read."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .answer_space import Template, template
from .rendering import template_here

FILE = "tests/template/files.txt"
HEAD = """\
# Which file of a project comes with which layer of template/, but for engine/, which is in every project as it lies in
# template/engine. `uv run expected-files` writes this, a test compares it with what Copier renders.
"""
# What tells the verb `draft` whether a file of a project is as the template renders it.
DRAFTED = "template/engine/src/twoloops/problems/tabular/drafting/rendered.json"
LAYERS = {"classification": "problem_classification", "regression": "problem_regression"}


def main() -> None:
    """Rewrite the table from what lies in template/ now; it stands in the template's own tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help=f"the file to write (default: {FILE} of the clone)")
    arguments = parser.parse_args()
    with template_here() as source:
        text = table(template(source))
        (arguments.into or source / FILE).write_text(text, encoding="utf-8")
        if not arguments.into:
            (source / DRAFTED).write_text(fingerprints(source), encoding="utf-8")
    print(f"{text.count(chr(10)) - HEAD.count(chr(10))} files")


def table(ours: Template) -> str:
    """Return a line for each file that is in a layer: the layer, and the path in a project."""
    answers = ours.all_answers({"package_name": "churn"})
    everywhere = answers | {"layer": dict.fromkeys(answers["layer"], ".")}
    rows = sorted((file.layer, file.path_for(everywhere) or "") for file in ours.files() if file.layer)
    width = max(len(layer) for layer, _ in rows)
    return HEAD + "".join(f"{layer:{width}}  {path}\n" for layer, path in rows)


def fingerprints(source: Path) -> str:
    """Return the fingerprints of the files that `draft` replaces, by problem type and path, as JSON."""
    # Only here: who writes the table alone may have no engine installed.
    from twoloops.problems.tabular.drafting.writing import SIMULATOR, TEMPLATES, fingerprint  # noqa: PLC0415

    paths = [*TEMPLATES, *SIMULATOR]
    found = {}
    for problem, layer in LAYERS.items():
        folders = [source / "template" / f"{{{{ layer.{each} }}}}" for each in (layer, "problem_tabular")]
        found[problem] = {path: fingerprint(_of(path, folders).read_text(encoding="utf-8")) for path in paths}
    return json.dumps(found, indent=1) + "\n"


def _of(path: str, folders: list[Path]) -> Path:
    named = path.format(package="{{ package_name }}")
    candidates = [folder / f"{named}{end}" for folder in folders for end in ("", ".jinja")]
    return next(each for each in candidates if each.exists())
