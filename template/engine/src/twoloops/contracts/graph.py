"""The graph of the inner loop: which steps there are, what each runs, reads and writes; it knows no pipeline's engine.

`pipelines.graph` reads it from dvc.yaml. Whatever runs it, here or elsewhere, is told by this and by nothing else.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from twoloops.errors import ProjectError

FILE = "dvc.yaml"
# What a shell would understand, and a program's words are not.
SHELL = re.compile(r"[|&;<>()$`\\*?\[#~!{}\n]")


LONGEST_LABEL = 63


def label(step: str) -> str:
    """Return a step's name as services of clouds take it: a-z, 0-9 and hyphens, at most 63 of them.

    A name that has to be changed gets a digest, so that no two steps become one.

    Args:
        step: its name.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", step.lower()).strip("-")
    if plain == step and len(plain) <= LONGEST_LABEL:
        return step
    return f"{plain[: LONGEST_LABEL - 7].strip('-') or 'step'}-{hashlib.sha256(step.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class Step:
    """One step. Paths are relative to the project's folder, with `/`; a URL stands as it is."""

    name: str
    commands: tuple[str, ...]  # lines for a shell, one after the other; the first that fails ends the step
    reads: tuple[str, ...] = ()  # files, folders and URLs
    writes: tuple[str, ...] = ()  # files and folders
    kept: tuple[str, ...] = ()  # of `writes`, those that git keeps, not a cache: what people read
    params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # keys by file; no key: the whole file
    folder: str = "."  # where the commands run

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its command; none where it has several, or one that only a shell understands."""
        if len(self.commands) != 1 or SHELL.search(self.commands[0]):
            return ()
        try:
            return tuple(shlex.split(self.commands[0]))
        except ValueError:
            return ()

    def verb(self, package: str) -> tuple[str, ...]:
        """Return the verb of the project's own command that the step runs, with its options; else nothing.

        Args:
            package: the project's, which is the command's name.
        """
        words = self.words
        return words[1:] if self.folder == "." and words[:1] == (package,) else ()


@dataclass(frozen=True)
class Graph:
    """The steps, each after those whose results it reads."""

    steps: tuple[Step, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The steps' names, in their order."""
        return tuple(step.name for step in self.steps)

    def step(self, name: str) -> Step:
        """Return a step.

        Raises:
            ProjectError: there is none of this name.
        """
        for step in self.steps:
            if step.name == name:
                return step
        near = get_close_matches(name, self.names, n=1)
        raise ProjectError(
            f"{FILE} has no step {name!r}.",
            hint=f"It has: {', '.join(self.names)}." + (f" Did you mean {near[0]!r}?" if near else ""),
        )

    def before(self, step: Step) -> tuple[str, ...]:
        """Return the names of the steps whose results a step reads, in their order."""
        return tuple(each.name for each in self.steps if each is not step and feeds(each, step))

    def until(self, name: str) -> Graph:
        """Return the graph of one step and of all that it needs.

        Raises:
            ProjectError: there is no such step.
        """
        wanted, waiting = set[str](), [self.step(name)]
        while waiting:
            step = waiting.pop()
            wanted.add(step.name)
            waiting += [self.step(each) for each in self.before(step)]
        return Graph(tuple(step for step in self.steps if step.name in wanted))

    def maker(self, path: str) -> Step | None:
        """Return the step that writes a path, or a part of it, or None."""
        return next((step for step in self.steps if any(overlap(path, each) for each in step.writes)), None)

    @property
    def sources(self) -> tuple[str, ...]:
        """What steps read and no step writes: files, folders and URLs, each once."""
        found = dict.fromkeys(path for step in self.steps for path in (*step.reads, *step.params))
        return tuple(path for path in found if self.maker(path) is None)

    def running(self, package: str, verb: str) -> tuple[Step, ...]:
        """Return the steps that run a verb of the project's own command."""
        return tuple(step for step in self.steps if step.verb(package)[:1] == (verb,))

    def with_option(self, package: str, verb: str, option: str) -> Graph:
        """Return the graph in which a verb gets an option more.

        Raises:
            ProjectError: no step runs this verb alone.
        """
        given = self.running(package, verb)
        if not given:
            raise ProjectError(
                f"No stage of {FILE} has the command '{package} {verb}', which would be given {option}.",
                hint=f"Let a stage run '{package} {verb}', and what comes before or after it stages of their own.",
            )
        return Graph(
            tuple(
                replace(step, commands=(f"{step.commands[0]} {option}",)) if step in given else step
                for step in self.steps
            )
        )

    def reading(self, path: str, place: str, package: str) -> Graph:
        """Return the graph in which the verbs read something from another place; other commands know but the path.

        Args:
            path: as the graph has it.
            place: a URL.
            package: the project's, which is the command's name.
        """
        return Graph(
            tuple(
                replace(step, reads=tuple(place if read == path else read for read in step.reads))
                if step.verb(package)
                else step
                for step in self.steps
            )
        )

    def and_then(self, *steps: Step) -> Graph:
        """Return the graph with more steps, at its end."""
        return Graph((*self.steps, *steps))


def overlap(one: str, other: str) -> bool:
    """Say whether two paths are the same, or one lies in the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def feeds(one: Step, other: Step) -> bool:
    """Say whether a step reads what another writes."""
    return any(overlap(made, read) for made in one.writes for read in (*other.reads, *other.params))
