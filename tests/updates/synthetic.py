"""Small templates with a past: what they ask, what they render, and how releases change them.

The model renders by itself what Copier should render from the sources that it writes.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

OWNED = "own/"
LAYERS = {"base": "true", "extra": "extra", "kind_a": "kind == 'a'", "kind_b": "kind == 'b'"}
KINDS = ["a", "b"]
FEWEST_LINES = 8

Answers = dict[str, Any]
Draw = Callable[..., Any]  # Hypothesis chooses
Lines = tuple[str, ...]
Render = dict[str, Lines]  # by path


@dataclass(frozen=True)
class Line:
    """A line with a text that no other line has; it may show an answer, or stand there only with `extra`."""

    text: str
    answer: str | None = None
    conditional: bool = False

    def source(self) -> str:
        """Return it as the template has it."""
        text = f"{self.text} {{{{ {self.answer} }}}}\n" if self.answer else f"{self.text}\n"
        return f"{{% if extra %}}\n{text}{{% endif %}}\n" if self.conditional else text

    def rendered(self, answers: Answers) -> list[str]:
        """Return it as the project has it."""
        if self.conditional and not answers["extra"]:
            return []
        return [f"{self.text} {answers[self.answer]}" if self.answer else self.text]


@dataclass(frozen=True)
class TemplateFile:
    """A file in a layer; its number stays when it is renamed or moved."""

    number: int
    layer: str
    lines: tuple[Line, ...]

    def active(self, answers: Answers) -> bool:
        """Say whether its layer is taken."""
        return {"base": True, "extra": answers["extra"]}.get(self.layer, self.layer == f"kind_{answers['kind']}")


@dataclass(frozen=True)
class Question:
    """A question for a text. Under its former names it may have been answered already."""

    default: str
    formerly: tuple[str, ...] = ()

    def source(self) -> dict[str, str]:
        """Return it as copier.yml has it."""
        default = f"'{self.default}'"
        for name in reversed(self.formerly):
            default = f"{name} | default({default})"
        return {"type": "str", "default": f"{{{{ {default} }}}}"}


@dataclass(frozen=True)
class Release:
    """One version of a template."""

    files: Mapping[str, TemplateFile]
    questions: Mapping[str, Question]

    def answers(self, recorded: Answers, changes: Answers) -> Answers:
        """Return the answers after an update to this release, or of a new project."""
        answers: Answers = {"extra": False, "kind": "a"}
        answers |= {name: value for name, value in recorded.items() if name in answers}
        for name, question in self.questions.items():
            known = (recorded[each] for each in (name, *question.formerly) if each in recorded)
            answers[name] = next(known, question.default)
        return answers | changes

    def render(self, answers: Answers) -> Render:
        """Return the project's files, the user's own among them."""
        return {
            path: tuple(itertools.chain.from_iterable(line.rendered(answers) for line in file.lines))
            for path, file in self.files.items()
            if file.active(answers)
        }

    def sources(self) -> dict[str, str]:
        """Return the template's files."""
        settings = {
            "_subdirectory": "template",
            "_envops": {
                "undefined": "jinja2.StrictUndefined",
                "trim_blocks": True,
                "lstrip_blocks": True,
                "keep_trailing_newline": True,
            },
            "_exclude": [f"{{% if _copier_operation == 'update' %}}{OWNED.rstrip('/')}{{% endif %}}"],
            "extra": {"type": "bool", "default": False},
            "kind": {"type": "str", "choices": KINDS, "default": "a"},
            **{name: question.source() for name, question in self.questions.items()},
            "layer": {
                "type": "yaml",
                "when": False,
                "default": "".join(f"{name}: \"{{{{ '.' if {when} }}}}\"\n" for name, when in LAYERS.items()),
            },
        }
        files = {
            "copier.yml": yaml.safe_dump(settings, sort_keys=False),
            "template/{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml }}",
        }
        for path, file in self.files.items():
            text = "".join(line.source() for line in file.lines)
            files[f"template/{{{{ layer.{file.layer} }}}}/{path}.jinja"] = text
        return files


@dataclass
class Author:
    """Whoever changes the template, from one release to the next."""

    draw: Draw
    count: Iterator[int] = field(default_factory=itertools.count)

    def history(self) -> list[Release]:
        """Return two to five releases."""
        files = {self.name("lib/"): self.file("base"), self.name(): self.file("base")}
        for layer in ("extra", "kind_a", "kind_b"):
            files[self.name()] = self.file(layer)
        files[self.name(OWNED)] = self.file("base")
        releases = [Release(files, {self.word("q"): Question(self.word("d"))})]
        for _ in range(self.draw(st.integers(1, 4))):
            release = releases[-1]
            for _ in range(self.draw(st.integers(1, 6))):
                release = self.draw(st.sampled_from(self.CHANGES))(self, release)
            releases.append(release)
        return releases

    def word(self, letter: str) -> str:
        """Return a word that was never used."""
        return f"{letter}{next(self.count)}"

    def name(self, folder: str = "") -> str:
        """Return a path that was never used."""
        return f"{folder}{self.word('file')}.txt"

    def line(self) -> Line:
        """Return a new line."""
        return Line(f"the template's {self.word('t')}")

    def file(self, layer: str) -> TemplateFile:
        """Return a new file."""
        return TemplateFile(next(self.count), layer, tuple(self.line() for _ in range(self.draw(st.integers(12, 20)))))

    def edit(self, release: Release) -> Release:
        """Change, insert or delete a line."""
        path, file = self.draw(st.sampled_from(sorted(release.files.items())))
        at = self.draw(st.integers(0, len(file.lines) - 1))
        way = self.draw(st.sampled_from(["change", "insert", "delete", "condition"]))
        new: tuple[Line, ...] = (self.line(),)
        if way == "condition":
            new = (replace(new[0], conditional=True),)
        if way == "delete" and len(file.lines) > FEWEST_LINES:
            new = ()
        lines = (*file.lines[:at], *new, *file.lines[at if way in ("insert", "condition") else at + 1 :])
        return replace(release, files={**release.files, path: replace(file, lines=lines)})

    def add(self, release: Release) -> Release:
        """Add a file, sometimes among the user's own, which reaches new projects alone."""
        folder = self.draw(st.sampled_from(["", "lib/", OWNED]))
        file = self.file(self.draw(st.sampled_from(sorted(LAYERS))))
        return replace(release, files={**release.files, self.name(folder): file})

    def remove(self, release: Release) -> Release:
        """Remove a file that is not the last one."""
        if len(release.files) < 3:
            return release
        gone = self.draw(st.sampled_from(sorted(release.files)))
        return replace(release, files={path: file for path, file in release.files.items() if path != gone})

    def rename(self, release: Release) -> Release:
        """Rename a file in its folder."""
        old = self.draw(st.sampled_from(sorted(release.files)))
        new = self.name(old[: old.rfind("/") + 1])
        files = {new if path == old else path: file for path, file in release.files.items()}
        return replace(release, files=files)

    def move(self, release: Release) -> Release:
        """Move a file to another layer."""
        path, file = self.draw(st.sampled_from(sorted(release.files.items())))
        layer = self.draw(st.sampled_from(sorted(LAYERS)))
        return replace(release, files={**release.files, path: replace(file, layer=layer)})

    def ask(self, release: Release) -> Release:
        """Add a question, and show its answer at the end of a file."""
        name = self.word("q")
        path, file = self.draw(st.sampled_from(sorted(release.files.items())))
        lines = (*file.lines, replace(self.line(), answer=name))
        questions = {**release.questions, name: Question(self.word("d"))}
        return Release({**release.files, path: replace(file, lines=lines)}, questions)

    def change_default(self, release: Release) -> Release:
        """Give a question another default."""
        name, question = self.draw(st.sampled_from(sorted(release.questions.items(), key=lambda pair: pair[0])))
        return replace(release, questions={**release.questions, name: replace(question, default=self.word("d"))})

    def rename_question(self, release: Release) -> Release:
        """Rename a question; its default is the answer to the old name."""
        old, question = self.draw(st.sampled_from(sorted(release.questions.items(), key=lambda pair: pair[0])))
        new = self.word("q")
        questions = {name: each for name, each in release.questions.items() if name != old}
        questions[new] = replace(question, formerly=(old, *question.formerly))
        files = {
            path: replace(
                file, lines=tuple(replace(line, answer=new) if line.answer == old else line for line in file.lines)
            )
            for path, file in release.files.items()
        }
        return Release(files, questions)

    # Edits are what most releases are made of.
    CHANGES = (edit, edit, edit, edit, edit, add, remove, rename, move, ask, change_default, rename_question)


def tag(number: int) -> str:
    """Return the tag of a release by its place in the history."""
    return f"v{number + 1}.0.0"


def publish(history: list[Release], folder: Path) -> Path:
    """Write all releases into a bare repository, by two calls of git, and return it."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--template=", str(folder)], check=True)
    stream = []
    for number, release in enumerate(history):
        stream.append(
            f"commit refs/heads/main\nmark :{number + 1}\ncommitter test <test@example.com> 0 +0000\ndata 0\n"
        )
        stream.append("deleteall\n")
        for path, text in release.sources().items():
            stream.append(f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n")
        stream.append(f"reset refs/tags/{tag(number)}\nfrom :{number + 1}\n\n")
    subprocess.run(["git", "fast-import", "--quiet"], input="".join(stream).encode(), cwd=folder, check=True)
    subprocess.run(["git", "symbolic-ref", "HEAD", "refs/heads/main"], cwd=folder, check=True)
    return folder
