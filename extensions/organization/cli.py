"""`organization`: an organization's own template, from policy to release."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from commands.answer_space import RefusedError, UnsupportedError
from commands.levels import next_version

from .. import sources
from ..refusal import Refused
from .build import built_tree, compile_tree, laid_out, lay_down, read, read_template
from .check import record, verify
from .git import Upstream
from .publish import publish as release
from .start import Wishes, check_empty, start
from .start import slug as slug_of
from .upgrade import last_release, listed, since
from .upgrade import upgrade as move

app = typer.Typer(
    help="An organization's own template, built from a release of the upstream and never forked.\n\n"
    "The way of a release: init, then build, check, publish. A newer upstream: upgrade, then publish. "
    "docs/organizations.md walks it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Folder = Annotated[Path, typer.Argument(help="The workspace: the folder with policy.yaml.", show_default="this folder")]
output = Console(highlight=False, soft_wrap=True)
progress = Console(stderr=True, highlight=False)


def main() -> None:
    """Run a command; a refusal is told in a few lines and ends with 1."""
    try:
        app()
    except Refused as refusal:
        fail(refusal.message, refusal.hint)
    except (RefusedError, UnsupportedError, OSError) as error:
        fail(str(error))


def fail(message: str, hint: str = "") -> NoReturn:
    """Say what is wrong and the way out, and end with 1."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print(f"[red]{escape(message)}[/]")
    if hint:
        errors.print(escape(hint))
    sys.exit(1)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Show the step that runs; on a terminal only."""
    with progress.status("") as status:
        yield lambda step: status.update(escape(step))


def pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """Return the values that were given as NAME=VALUE."""
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Refused(
                f"{option} {text}: a name, = and a value are needed.", f"Such as: {option} owner=data-science"
            )
        found[name] = value
    return found


def repeated(what: str, metavar: str = "NAME=VALUE") -> Any:
    """Return an option that can be given several times."""
    return typer.Option(metavar=metavar, help=f"{what} Repeat it for others.")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    name: Annotated[str | None, typer.Option(help="The organization's name, for people.")] = None,
    slug: Annotated[str | None, typer.Option(help="Its name in files.", show_default="from the name")] = None,
    upstream: Annotated[str | None, typer.Option(help="The repository of copier-mlops: a URL or a path.")] = None,
    upstream_version: Annotated[str | None, typer.Option(help="Its release.", show_default="the newest")] = None,
    default: Annotated[list[str] | None, repeated("The default of a question of the upstream.")] = None,
    lock: Annotated[list[str] | None, repeated("An answer that is the same in every project.")] = None,
    allow: Annotated[list[str] | None, repeated("The answers that are left of a question.", "NAME=VALUE,VALUE")] = None,
    question: Annotated[list[str] | None, repeated("A question of your own.", "NAME=TEXT")] = None,
    file: Annotated[list[str] | None, repeated("A file for every project.", "PATH_IN_PROJECT=FILE")] = None,
    package_index: Annotated[str | None, typer.Option(help="The index that uv takes packages from.")] = None,
    registry: Annotated[str | None, typer.Option(help="The registry of images.")] = None,
    naming_prefix: Annotated[str | None, typer.Option(help="How names of resources begin.")] = None,
    resource_tags: Annotated[str | None, typer.Option(help="Tags of resources, such as team=ml, cost=1234.")] = None,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing; take the options as they are.")] = False,
) -> None:
    """Make a workspace: asks on a terminal for what no option has answered."""
    from . import ask  # noqa: PLC0415 - what it asks with takes half of this program's start

    folder = folder.absolute()
    check_empty(folder)
    asks = sys.stdin.isatty() and not no_input
    if asks:
        name, upstream = ask.identity(name, upstream)
    if not name or not upstream:
        raise Refused(
            "--name and --upstream are needed where nothing is asked.", "organization init --help tells more."
        )
    source = sources.recorded(upstream)
    known = Upstream(source, folder).releases()
    if not known:
        raise Refused(f"The upstream {source} has no releases.", "In a clone: git fetch --tags.")
    settings = {
        "package_index": package_index,
        "registry": registry,
        "naming_prefix": naming_prefix,
        "resource_tags": resource_tags,
    }
    wishes = Wishes(
        name=name,
        slug=slug or slug_of(name),
        source=source,
        version=upstream_version or (ask.version(known) if asks else known[-1]),
        defaults=pairs("--default", default),
        locks=pairs("--lock", lock),
        allowed={name: values.split(",") for name, values in pairs("--allow", allow).items()},
        settings={name: value for name, value in settings.items() if value},
        questions=pairs("--question", question),
        files={path: Path(source) for path, source in pairs("--file", file).items()},
    )
    if asks:
        with laid_out(Upstream(source, folder).tree(wishes.version)) as released:
            wishes = ask.wishes(wishes, read_template(released))
    start(folder, wishes)
    say(
        f"{folder.name}/ holds policy.yaml and overlay/ of {name}, built from {wishes.version}. Read policy.yaml first."
    )
    say("Next, in it: git init; organization build")


@app.command()
def build(folder: Folder = Path()) -> None:
    """Build the template repository into build/: the same from the same policy, overlay and upstream."""
    workspace = read(folder.absolute())
    tree = compile_tree(workspace, Upstream(workspace.policy.upstream.source, workspace.folder))
    lay_down(tree, workspace)
    policy = workspace.policy
    say(f"build/ holds {policy.organization.name} {policy.tag}, from {policy.upstream.version}: {len(tree)} files.")
    last = last_release(workspace)
    if last:
        changes, part = since(workspace, last, tree)
        for line in listed(changes):
            say(line)
        least = next_version(last.removeprefix("v"), part)
        say(f"Since {last} this is a {part.name.lower()} change for projects: version {least} or above.")
    say("Next: organization check")


@app.command()
def check(folder: Folder = Path()) -> None:
    """Render what the policy allows and hold its laws: what is locked stays locked, what is hidden stays hidden."""
    workspace = read(folder.absolute())
    tree = built_tree(workspace)
    with steps() as told:
        checked = verify(tree, workspace, Upstream(workspace.policy.upstream.source, workspace.folder), told)
    record(workspace)
    say(f"{checked.projects} projects with every pair of answers, {checked.files} different files: all in order.")
    say(f"{checked.refusals} answers that the policy forbids: all refused.")
    say("Next: organization publish")


@app.command()
def publish(
    folder: Folder = Path(),
    remote: Annotated[
        str | None, typer.Option(help="Push to this repository; it is remembered. Without one the release stays here.")
    ] = None,
) -> None:
    """Release what was checked: a commit and a tag, pushed together or not at all."""
    workspace = read(folder.absolute())
    commit = release(workspace, remote)
    say(f"{workspace.policy.organization.name} {workspace.policy.tag} is published: commit {commit[:12]}.")


@app.command()
def upgrade(
    folder: Folder = Path(),
    to: Annotated[str | None, typer.Option(help="The release of the upstream.", show_default="the newest")] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="A replaced file, as upstream has it now, is reviewed. Repeat it for others."),
    ] = None,
) -> None:
    """Move to a newer upstream: show what changes, build it, check it, and say what to publish it as."""
    with steps() as told:
        for line in move(read(folder.absolute()), to, accept or [], told):
            say(line)


def say(text: str) -> None:
    """Print a line as it is."""
    output.print(escape(text))
