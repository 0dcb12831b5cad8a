"""A code host, a cloud and a problem type are added by following CONTRIBUTING.md: a row, a layer, a package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from commands.answer_space import Template
from commands.rendering import TEMPLATE, clean_environment
from tests.support.projects import write

PAGE = (TEMPLATE / "CONTRIBUTING.md").read_text(encoding="utf-8")
# By table, the rows that the page shows.
ROWS = {
    table: textwrap.dedent(rows)
    for table, rows in re.findall(r"^   ```yaml (\w+)\n(.*?)^   ```", PAGE, re.DOTALL | re.MULTILINE)
}
ANSWERS = {"problem_type": "counts", "ci_provider": "forge", "infrastructure": "skies"}
LAYERS = {
    "{{ layer.problem_counts }}/src/{{ package_name }}/problem/data.py": '"""Counts."""\n',
    "{{ layer.ci_forge }}/.forge/check.yml": "run: check\n",
    "{{ layer.ci_forge_remote }}/.forge/infrastructure.yml": "run: infrastructure\n",
    "{{ layer.infra_skies }}/infra/main.tf": "# skies\n",
    "{{ layer.infra_skies_online }}/infra/service.tf": "# a service\n",
    "{{ layer.infra_skies_batch }}/infra/scoring.tf": "# scoring\n",
}
# As an organization's own package has it; the engine's own stand in engine/pyproject.toml in the same form.
PACKAGE = {
    "acme/__init__.py": "",
    "acme/forge.py": 'from twoloops.hosts.github import *\n\nNAME = "Forge"\n',
    "acme/skies.py": 'from twoloops.platforms.local import *\n\nNAME = "Skies"\n',
    "acme/counts.py": "from twoloops.problems.outputs import amounts\nfrom twoloops.problems.tabular import Tabular\n\n"
    'counts = Tabular("counts", amounts)\n',
    "acme-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1\n",
    "acme-1.dist-info/entry_points.txt": "[twoloops.hosts]\nforge = acme.forge\n\n[twoloops.platforms]\n"
    "skies = acme.skies\n\n[twoloops.problems]\ncounts = acme.counts:counts\n",
}
CHOSEN = """
from twoloops.hosts import host
from twoloops.platforms import platform
from twoloops.problems import problem
print(host.NAME, platform.NAME, problem.name, sep=", ")
"""


@pytest.fixture
def extended(tmp_path: Path) -> Template:
    """Return the template with the page's rows, and a layer's folder for each."""
    folder = tmp_path / "template"
    shutil.copytree(
        TEMPLATE / "template", folder / "template", ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
    )
    text = (TEMPLATE / "copier.yml").read_text(encoding="utf-8")
    for table, rows in ROWS.items():
        head = f"\n{table}:\n  type: yaml\n  when: false\n  default:\n"
        assert text.count(head) == 1, table
        text = text.replace(head, head + textwrap.indent(rows, "    "))
    (folder / "copier.yml").write_text(text, encoding="utf-8")
    for name, content in LAYERS.items():
        path = folder / "template" / name
        path.parent.mkdir(parents=True)
        path.write_text(content, encoding="utf-8")
    return Template(folder)


def test_the_page_shows_a_row_for_each_table_of_choices() -> None:
    assert set(ROWS) == {"problem_types", "metrics", "code_hosts", "infrastructures"}


def test_a_row_and_a_layer_make_a_project(extended: Template, tmp_path: Path) -> None:
    answers = extended.all_answers(ANSWERS)
    assert answers["project_name"] == "Calls"
    assert answers["primary_metric"] == "poisson_deviance"
    assert answers["repository_url"] == "https://forge.example.com/ml-team/calls"
    project = extended.render(answers)
    own = {path for path, file in project.items() if file.content.decode() in LAYERS.values()}
    assert own == {
        ".forge/check.yml",
        ".forge/infrastructure.yml",
        "infra/main.tf",
        "infra/service.tf",
        "src/calls/problem/data.py",
    }
    assert not any(path.startswith((".github", "monitoring")) for path in project)
    assert "twoloops[online,object-store]" in project["pyproject.toml"].content.decode()
    assert "Forge" in project["README.md"].content.decode()
    # Nobody else's project has changed.
    assert (
        extended.render(extended.all_answers({})).keys()
        == Template(TEMPLATE).render(Template(TEMPLATE).all_answers({})).keys()
    )


def test_a_package_brings_what_the_project_asks_for(extended: Template, tmp_path: Path) -> None:
    project, packages = tmp_path / "project", tmp_path / "packages"
    write(project, extended.render(extended.all_answers(ANSWERS)))
    for name, content in PACKAGE.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(content, encoding="utf-8")

    def run(*command: str, path: str) -> subprocess.CompletedProcess[str]:
        env = clean_environment() | {"PYTHONPATH": path}
        return subprocess.run(
            [sys.executable, *command], cwd=project, env=env, capture_output=True, text=True, check=False
        )

    told = run("-c", CHOSEN, path=f"{packages}:{project / 'src'}")
    assert told.stdout == "Forge, Skies, counts\n", told.stderr
    assert "simulate" in run("-m", "twoloops", "--help", path=f"{packages}:{project / 'src'}").stdout
    missing = run("-m", "twoloops", "--help", path=str(project / "src"))
    assert missing.returncode == 1
    assert "No installed package has 'skies' among its platforms" in missing.stderr
