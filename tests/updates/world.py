"""A template with two versions and a project from the first one, small enough for many tests.

A stand-in takes Copier's place; git and the engine are real.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from extensions.update import updating

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com")
BASE = [f"line {number}\n" for number in range(20)]

# Stands in for Copier: a template is a folder of files for each version,
# and the answer `more` brings one file.
COPIER = """
import pathlib, shutil, sys, yaml
options = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[2:] if word.startswith("--"))
if sys.argv[1] == "copy":
    source, place = (pathlib.Path(word) for word in sys.argv[-2:])
    answers = yaml.safe_load(pathlib.Path(options["data-file"]).read_text())
else:
    place = pathlib.Path()
    content = yaml.safe_load((place / ".copier-answers.yml").read_text())
    source = pathlib.Path(content.pop("_src_path"))
    content.pop("_commit")
    answers = content | dict([options["data"].split("=")] if "data" in options else [])
    for path in place.iterdir():
        if path.is_file():
            path.unlink()
version = options["vcs-ref"]
if not (source / version).exists():
    sys.exit(f"no such version: {version}")
shutil.copytree(source / version, place, dirs_exist_ok=True)
if answers["more"] != "yes":
    (place / "more.txt").unlink(missing_ok=True)
answers["more"] = answers["more"] if version == "v1.0.0" or answers["more"] in ("yes", "no") else "no"
(place / ".copier-answers.yml").write_text(yaml.safe_dump({"_commit": version, "_src_path": str(source), **answers}))
"""


def git(folder: Path, *words: str) -> str:
    return subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=x")


class World:
    """A template with two versions, and a project from the first one.

    Attributes:
        template: the template's repository.
        repository: the project's repository.
        project: the project's folder, the repository itself unless `inside` names one in it.
        copier: the command of the stand-in.
    """

    def __init__(self, folder: Path, *, inside: str = "", kind: str = "sha1") -> None:
        self.template = folder / "template"
        self.repository = folder / "project"
        self.copier = [sys.executable, "-c", COPIER]
        for version, lines in (("v1.0.0", BASE), ("v1.1.0", [*BASE[:10], "line 10, better\n", *BASE[11:]])):
            place = self.template / version
            place.mkdir(parents=True)
            for name in ("kept.txt", "more.txt", "other.txt"):
                (place / name).write_text(name + "".join(lines), encoding="utf-8")
        (self.template / "v1.1.0/other.txt").unlink()
        (self.template / "CHANGELOG.md").write_text("# Changes\n\n## 1.1.0\n\nBetter.\n\n## 1.0.0\n\nFirst.\n")
        git(folder, "init", "--quiet", "template")
        commit(self.template)
        for version in ("v1.0.0", "v1.1.0"):
            git(self.template, "tag", version)
        git(folder, "init", "--quiet", "--initial-branch=main", f"--object-format={kind}", "project")
        self.project = self.born(inside)

    def born(self, inside: str) -> Path:
        """Make a project in a folder of the repository, commit it, and return its folder."""
        project = self.repository / inside
        project.mkdir(parents=True, exist_ok=True)
        answers = self.repository / "answers.yml"
        answers.write_text("more: 'no'\n", encoding="utf-8")
        words = ["copy", f"--data-file={answers}", "--vcs-ref=v1.0.0", str(self.template), str(project)]
        subprocess.run([*self.copier, *words], cwd=project, check=True)
        answers.unlink()
        commit(self.repository)
        return project

    def edit(self, name: str, old: str, new: str) -> None:
        file = self.project / name
        file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        commit(self.project)

    def merge(self, **more: str) -> updating.Update:
        update = updating.merge(self.project, answers=more, copier=self.copier)
        assert update is not None
        return update

    def read(self, update: updating.Update, name: str) -> str:
        return git(self.project, "show", f"{update.commit}:./{name}")
