"""`uv run expected-files`: write down which file comes with which layer, for a reviewer to read."""

from __future__ import annotations

import argparse
from pathlib import Path

from .answer_space import Template, template
from .rendering import template_here

FILE = "tests/template/files.txt"
HEAD = """\
# Which file of a project comes with which layer of template/, but for engine/, which is in every project as it lies in
# template/engine. `uv run expected-files` writes this, a test compares it with what Copier renders.
"""


def main() -> None:
    """Rewrite the table from what lies in template/ now; it stands in the template's own tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, help=f"the file to write (default: {FILE} of the clone)")
    arguments = parser.parse_args()
    with template_here() as source:
        text = table(template(source))
        (arguments.into or source / FILE).write_text(text, encoding="utf-8")
    print(f"{text.count(chr(10)) - HEAD.count(chr(10))} files")


def table(ours: Template) -> str:
    """Return a line for each file that is in a layer: the layer, and the path in a project."""
    answers = ours.all_answers({"package_name": "churn"})
    everywhere = answers | {"layer": dict.fromkeys(answers["layer"], ".")}
    rows = sorted((file.layer, file.path_for(everywhere) or "") for file in ours.files() if file.layer)
    width = max(len(layer) for layer, _ in rows)
    return HEAD + "".join(f"{layer:{width}}  {path}\n" for layer, path in rows)
