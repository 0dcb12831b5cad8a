"""Every command that a page shows: the page is walked by a test, or each of its commands is understood by its program.

What is walked prints what the page says that it prints. The others cannot be: they push to a code host, ask a cloud,
open a browser, or stand for a choice of the reader. Of them every verb, option and file is looked up, so that a page
names none that has gone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from twoloops import cli

from commands.adopt import adopt
from commands.answer_space import Template
from commands.release import app as release_app
from commands.rendering import TEMPLATE
from extensions.fleet.cli import app as fleet_app
from extensions.organization.cli import app as organization_app
from extensions.update.cli import app as update_app

# Pages whose commands a test runs, one after the other, and compares what they print.
WALKED = {
    "docs/your-data.md": "tests/walks/test_your_data.py",
    "docs/ownership.md": "tests/updates/test_chapter.py",
}
# Why the commands of the other pages are understood, and not run.
LOOKED_UP = {
    "CHANGELOG.md": "the way over from a release; tests/updates/test_coming_over.py goes it",
    "CONTRIBUTING.md": "this very test is run by them; releases are made by hand",
    "README.md": "tests/walks/test_demo.py runs the demo, tests/updates and tests/template the rest",
    "docs/adopting.md": "they stand for a reader's repository; tests/updates/test_adopting.py has one",
    "docs/examples/health_insurance/data/README.md": "tests/walks/test_your_data.py runs it",
    "docs/fleet.md": "the repositories are a reader's; tests/test_fleet.py makes some",
    "docs/flows.md": "they push to a code host; tests/flows has stand-ins",
    "docs/monitoring.md": "labels are a reader's; tests/walks/test_monitoring.py closes the loop",
    "docs/organizations.md": "they publish; tests/organization/test_walk.py goes the same way, and runs the last block",
    "docs/serving.md": "they build an image; tests/walks/test_deployment.py and test_images.py do",
    "docs/start.md": "tests/walks/test_demo.py and test_deployment.py run the verbs; the figures are compared there",
    "docs/verifying-azure.md": "they ask for a subscription; tests/engine/platforms/azure has an emulator",
    "engine/README.md": "a debugger waits for a person",
    "engine/docs/flows.md": "they set up a code host",
    "project/README.md": "they push to a code host, and open notebooks",
    "project/docs/code-host.md": "they set up a code host",
    "project/docs/cloud.md": "they ask for an account on a cloud; tests/aws goes the way against stand-ins",
    "project/docs/cost.md": "it asks a list of prices, which is elsewhere and changes",
    "project/docs/runbooks.md": "they are for an emergency",
    "project/docs/your-data.md": "they delete the example; tests/walks/test_your_data.py does so",
    "project/infra/README.md": "they ask for an account on a cloud; tests/aws/test_emulator.py runs the last block",
}  # fmt: skip
# Answers whose projects have every page.
PROJECTS: list[dict[str, Any]] = [
    {},
    {"ci_provider": "gitlab", "infrastructure": "aws", "serving_mode": "online_and_batch"},
    {"infrastructure": "azure", "serving_mode": "online_and_batch"},
    {"ci_provider": "gitlab", "infrastructure": "kubernetes", "serving_mode": "online_and_batch"},
    {"ci_provider": "azure_devops", "problem_type": "regression", "serving_mode": "batch"},
]
ROOMS = (
    "drafting", "inner_loop", "outer_loop", "online", "batch", "stopping", "images", "delivery", "login",
    "infrastructure", "development", "doctor",
)  # fmt: skip
VERBS_OF = {"churn", "spending", "tumours", "visits", "PKG", "PACKAGE", "twoloops"}
OURS = {"release": release_app, "fleet": fleet_app, "organization": organization_app, "update-template": update_app}
SCRIPTS = {"demo": "commands/demo.py", "changes": "commands/changes.py", "api": "commands/api.py"}
SCRIPTS |= {"expected-files": "commands/expected_files.py", "choose": "commands/choose.py"}
# Programs of others: what they offer is theirs.
OF_OTHERS = {
    "az", "cd", "cp", "curl", "docker", "export", "git", "grep", "jq", "mkdir", "mv", "printf", "rm", "sh", "terraform",
    "bash", "uv", "pip", "prek", "jupyter", "ruff", "mypy", "dvc", "detect-secrets", "python3",
}  # fmt: skip
OPTION = re.compile(r"--[a-z][a-z-]*")


def pages() -> dict[str, str]:
    """Return the text of every page, those of projects as their owners have them, all forms of one together."""
    found = {}
    for path in [*TEMPLATE.glob("*.md"), *TEMPLATE.glob("docs/**/*.md"), *TEMPLATE.glob("benchmarks/*.md")]:
        found[path.relative_to(TEMPLATE).as_posix()] = path.read_text(encoding="utf-8")
    engine = TEMPLATE / "template/engine"
    for path in [*engine.glob("*.md"), *engine.glob("docs/*.md")]:
        found[f"engine/{path.relative_to(engine).as_posix()}"] = path.read_text(encoding="utf-8")
    template = Template(TEMPLATE)
    for answers in PROJECTS:
        for name, file in template.render(template.all_answers(answers)).items():
            if name.endswith(".md") and not name.startswith("engine/"):
                place = f"project/{name}"
                found[place] = found.get(place, "") + "\n" + file.content.decode()
    return found


PAGES = pages()


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in the blocks of a page."""
    for block in re.findall(r"^ *```(?:sh|bash|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        plain = block.replace("\\\n", " ")
        if block.lstrip().startswith("$ "):  # with what is printed below it
            plain = "\n".join(line.removeprefix("$ ") for line in plain.splitlines() if line.startswith("$ "))
        plain = re.sub(r"(^|\s)#[^\n]*", r"\1", plain)
        reader = shlex.shlex(plain, posix=True, punctuation_chars="();<>|&\n")
        reader.whitespace, reader.whitespace_split, reader.commenters = " \t\r", True, ""
        words: list[str] = []
        for word in reader:
            if word.strip("();|&\n"):
                words.append(word)
            elif words:
                yield words
                words = []
        if words:
            yield words


def with_commands() -> list[str]:
    return sorted(name for name, text in PAGES.items() if any(True for _ in commands(text)))


def group_of(app: typer.Typer) -> Any:
    return typer.main.get_command(app)


def look_up(command: Any, words: Sequence[str]) -> None:
    """Raise where a command does not know a word that it is given."""
    context = command.make_context("x", [], resilient_parsing=True)
    context.resilient_parsing = False
    given, left, _ = command.make_parser(context).parse_args(args=list(words))
    if hasattr(command, "resolve_command"):
        if left:
            _, below, rest = command.resolve_command(context, left)
            look_up(below, rest)
        return
    assert not left or command.context_settings.get("allow_extra_args"), f"{left} are too many"
    demanded = [each.name for each in command.params if each.required]
    assert all(given.get(name) is not None for name in demanded), f"{demanded} are demanded"


def understood(words: list[str]) -> bool:
    """Look up a command; say whether there is anything here that knows its program.

    Raises:
        Exception: the program does not know one of its words: parsers have errors of their own.
    """
    program, *rest = _plain(words)
    if program == "adopt":
        single = typer.Typer(add_completion=False)
        single.command()(adopt)
        look_up(group_of(single), rest)
    elif program in VERBS_OF:
        # The options of all verbs may stand behind the verb too.
        look_up(group_of(cli.command(ROOMS)), [word for word in rest if word not in (*cli.VERBOSE, *cli.DEBUG)])
    elif program in OURS:
        look_up(group_of(OURS[program]), rest)
    elif program in SCRIPTS:
        _has_options(TEMPLATE / SCRIPTS[program], rest)
    elif program == "python":
        _look_up_python(*rest)
    elif program == "copier":
        assert rest[0] in ("copy", "update", "recopy")
    elif program == "pytest":
        assert not [word for word in rest if "/" in word and not (TEMPLATE / word).exists()]
    else:
        return program in OF_OTHERS
    return True


def _plain(words: list[str]) -> list[str]:
    """Return program and arguments, without what starts it, variables before it and where its output goes."""
    while re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    words = words[: next((place for place, word in enumerate(words) if set(word) <= set("<>")), len(words))]
    if words[0] not in ("uv", "uvx") or words[1] in ("sync", "lock", "tool", "build"):
        return words
    rest = words[1:] if words[0] == "uvx" else words[2:]
    while rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in ("--with", "--from", "--group", "--extra") else rest[1:]
    return rest


def _look_up_python(*words: str) -> None:
    if words[0] != "-m":
        assert words[0] == "-c" or words[0].endswith(".py")
    elif words[1].startswith(("benchmarks.", "commands.")):
        _has_options(TEMPLATE / f"{words[1].replace('.', '/')}.py", words[2:])
    else:
        import_module(words[1])


def _has_options(file: Path, words: Sequence[str]) -> None:
    text = file.read_text(encoding="utf-8")
    missing = [option for word in words for option in OPTION.findall(word) if f'"{option}"' not in text]
    if missing and "timing" in text:  # the options that all benchmarks share
        missing = [
            each for each in missing if f'"{each}"' not in (TEMPLATE / "benchmarks/timing.py").read_text("utf-8")
        ]
    assert not missing, f"{file.name} has no {missing}"


def test_no_page_with_commands_is_left_out() -> None:
    assert not WALKED.keys() & LOOKED_UP.keys()
    assert set(with_commands()) == WALKED.keys() | LOOKED_UP.keys()
    for page, test in WALKED.items():
        assert Path(page).name in (TEMPLATE / test).read_text(encoding="utf-8")
    for reason in LOOKED_UP.values():
        for test in re.findall(r"tests/[\w/]+(?:\.py)?", reason):
            assert (TEMPLATE / test).exists(), test


@pytest.mark.usefixtures("bare_project")
@pytest.mark.parametrize("page", with_commands())
def test_every_command_is_understood(page: str) -> None:
    for words in commands(PAGES[page]):
        try:
            known = understood(words)
        except Exception as error:
            pytest.fail(f"{page}: {shlex.join(words)}: {error}")
        assert known, f"{page}: {shlex.join(words)}: nobody knows this program"


@pytest.mark.usefixtures("bare_project")
@pytest.mark.parametrize(
    "line",
    [
        "uv run churn runs", "uv run churn run --fast", "uv run churn invoke a b c", "uv run PKG proposes",
        "uvx --from git+URL@v1.0.0 update-template --fast", "uv run fleet reports", "uv run changes --fast",
        "uv run pytest tests/gone.py", "uv run python -m benchmarks.gone", "adopt x --layer y",
        "nobody --knows",
    ],
)  # fmt: skip
def test_what_is_not_there_is_found(line: str) -> None:
    (words,) = commands(f"```sh\n{line}\n```\n")
    try:
        known = understood(words)
    except Exception:
        return
    assert not known, line
