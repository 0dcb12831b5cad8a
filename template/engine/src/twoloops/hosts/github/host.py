"""The code host is GitHub: what flows show there, ask of people, and start. Nothing else knows it but settings.py.

The paths, and what they take and give, are those of https://docs.github.com/rest.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from twoloops import git
from twoloops.contracts.host import Issue
from twoloops.errors import ProjectError
from twoloops.hosts.web import Client, HostError

NAME: Final = "GitHub"
MAIN = "main"
API_VERSION = "2022-11-28"
# GitHub refuses more: 65,536 characters of a comment, 1 MiB of a step's summary.
MOST_CHARACTERS = 65_000
MOST_BYTES = 1_000_000
CUT = "\n\n… cut here: the rest is among the files that the run keeps.\n"
RIGHTS = "write access to Actions, Administration, Issues and Variables, and read access to the organization's Members"
REMOTE = re.compile(
    r"(?:(?:https?|ssh)://(?:[^/@]+@)?|[^/@]+@)(?P<server>[^/:@]+)(?::\d+(?=/))?[/:](?P<name>[^/:]+/[^/:]+?)(?:\.git)?/?"
)


def in_flow() -> bool:
    """Say whether this process runs in a flow on GitHub."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def run_url() -> str | None:
    """Return the page of this run, or None outside a flow."""
    if not in_flow():
        return None
    return f"{os.environ['GITHUB_SERVER_URL']}/{repository()}/actions/runs/{os.environ['GITHUB_RUN_ID']}"


def change() -> str | None:
    """Return the number of the pull request that this run checks, or None."""
    pull = _pull_request()
    return str(pull["number"]) if pull else None


def base() -> str | None:
    """Return the git revision to compare a pull request with, or None when this run checks none."""
    pull = _pull_request()
    return f"origin/{pull['base']['ref']}" if pull else None


def from_fork() -> bool:
    """Say whether the pull request comes from another repository: then there are no secrets, and no right to write."""
    pull = _pull_request()
    if pull is None:
        return False
    source = pull["head"]["repo"] or {}  # nothing once the fork has been deleted
    return bool(source.get("full_name") != pull["base"]["repo"]["full_name"])


def set_output(name: str, value: str) -> None:
    """Hand a value to later jobs; does nothing outside a flow."""
    if in_flow():
        _hand_on("GITHUB_OUTPUT", name, value)


def set_variable(name: str, value: str, *, secret: bool = False) -> None:
    """Set a variable of the environment for the later steps of this job.

    Raises:
        ProjectError: this is no job of a flow.
    """
    _demand_flow()
    if secret:
        for line in value.splitlines():
            print("::add-mask::" + line.replace("%", "%25"), flush=True)
    _hand_on("GITHUB_ENV", name, value)


def variables() -> dict[str, str]:
    """Return the repository's variables, which the flow's file gives to the step as FLOW_VARIABLES."""
    found: dict[str, str] = json.loads(os.environ.get("FLOW_VARIABLES") or "{}")
    return found


def temporary_folder() -> Path:
    """Return the folder that the runner empties after the job.

    Raises:
        ProjectError: this is no job of a flow.
    """
    _demand_flow()
    return Path(os.environ["RUNNER_TEMP"])


def _demand_flow() -> None:
    if not in_flow():
        raise ProjectError("This is no job of a flow on GitHub.", hint="Flows run it; log in here by your own means.")


def _hand_on(file: str, name: str, value: str) -> None:
    end = secrets.token_hex(16)  # a value may hold any line but this one
    with Path(os.environ[file]).open("a", encoding="utf-8") as opened:
        opened.write(f"{name}<<{end}\n{value}\n{end}\n")


def add_summary(markdown: Path) -> None:
    """Show a page with the run; does nothing outside a flow."""
    if in_flow():
        text = markdown.read_text(encoding="utf-8")
        if len(text.encode()) > MOST_BYTES:
            text = text.encode()[:MOST_BYTES].decode(errors="ignore") + CUT
        with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def comment(number: str, mark: str, body: str) -> str:
    """Create, or bring up to date, the one comment on a pull request that bears the mark; return its address.

    Args:
        number: of the pull request.
        mark: an HTML comment, which readers do not see.
        body: Markdown; the mark is put before it, where it does not stand there.

    Raises:
        ProjectError: there is no login.
        HostError: GitHub refuses or does not answer.
    """
    github, root = client(), f"repos/{repository()}/issues"
    text = body if body.startswith(mark) else f"{mark}\n{body}"
    content = {"body": text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + CUT}

    def find_marked() -> Iterator[Any]:
        entries = github.pages(f"{root}/{number}/comments", per_page=100)
        return (entry for entry in entries if (entry["body"] or "").startswith(mark) and _is_ours(entry))

    present = next(find_marked(), None)
    if present is None:
        made = github.ask("POST", f"{root}/{number}/comments", content)
        present = next(find_marked(), made)
        if present["id"] == made["id"]:
            return str(made["html_url"])
        # Another run was quicker by a moment: its comment is the one, and shows what is newest.
        github.ask("DELETE", f"{root}/comments/{made['id']}")
    return str(github.ask("PATCH", f"{root}/comments/{present['id']}", content)["html_url"])


def find_issue(label: str) -> Issue | None:
    """Return the oldest open issue with the label, or None.

    Raises:
        ProjectError: there is no login.
        HostError: GitHub refuses or does not answer.
    """
    path = f"repos/{repository()}/issues"
    entries = client().pages(path, labels=label, state="open", sort="created", direction="asc", per_page=100)
    # To GitHub a pull request is an issue too.
    return next((_issue(entry) for entry in entries if "pull_request" not in entry), None)


def open_issue(title: str, body: str, label: str) -> Issue:
    """Open an issue with the label, and return it, or the one that another run opened at the same moment.

    Raises:
        ProjectError: there is no login.
        HostError: GitHub refuses or does not answer.
    """
    github, root = client(), f"repos/{repository()}/issues"
    made = _issue(github.ask("POST", root, {"title": title, "body": body, "labels": [label]}))
    first = find_issue(label) or made
    if int(first.number) >= int(made.number):
        return made
    github.ask("PATCH", f"{root}/{made.number}", {"state": "closed", "state_reason": "not_planned"})
    return first


def update_issue(issue: Issue, body: str) -> None:
    """Replace an issue's description.

    Raises:
        ProjectError: there is no login.
        HostError: GitHub refuses or does not answer.
    """
    client().ask("PATCH", f"repos/{repository()}/issues/{issue.number}", {"body": body})


def close_issue(issue: Issue, body: str) -> None:
    """Say in a comment why, and close an issue.

    Raises:
        ProjectError: there is no login.
        HostError: GitHub refuses or does not answer.
    """
    github, path = client(), f"repos/{repository()}/issues/{issue.number}"
    github.ask("POST", f"{path}/comments", {"body": body})
    github.ask("PATCH", path, {"state": "closed", "state_reason": "completed"})


def start(flow: str, inputs: Mapping[str, str]) -> str | None:
    """Start a flow on the main branch, and return the address of its run if GitHub tells it.

    Raises:
        ProjectError: there is no login.
        HostError: GitHub refuses or does not answer.
    """
    content = {"ref": MAIN, "inputs": dict(inputs), "return_run_details": True}
    answer = client().ask("POST", f"repos/{repository()}/actions/workflows/{flow}.yml/dispatches", content)
    return answer["html_url"] if answer else None


def propose(branch: str, title: str, body: str) -> str:
    """Open a pull request from a branch into main, or bring the open one up to date; return its address.

    Raises:
        ProjectError: there is no login.
        HostError: GitHub refuses or does not answer.
    """
    github, root = client(), f"repos/{repository()}/pulls"
    head = f"{repository().partition('/')[0]}:{branch}"
    present = next(github.pages(root, head=head, base=MAIN, state="open", per_page=100), None)
    content = {"title": title, "body": body}
    try:
        if present:
            answer = github.ask("PATCH", f"{root}/{present['number']}", content)
        else:
            answer = github.ask("POST", root, content | {"head": branch, "base": MAIN})
    except HostError as error:
        if error.status != 403:
            raise
        raise HostError(
            str(error),
            error.status,
            hint="Flows may open pull requests once the verb 'bootstrap' has allowed it; or give the flow "
            f"a token that may, as the secret UPDATE_TOKEN. The branch {branch} is on GitHub already.",
        ) from error
    return str(answer["html_url"])


def repository() -> str:
    """Return the repository as owner/name.

    Raises:
        ProjectError: neither the flow nor the git remote `origin` names one on GitHub.
    """
    return os.environ.get("GITHUB_REPOSITORY") or _remote()["name"]


def client() -> Client:
    """Return a client that is logged in.

    Raises:
        ProjectError: there is no login.
    """
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {_token()}",
        "X-GitHub-Api-Version": API_VERSION,
    }
    if in_flow():
        hint = "The job's `permissions` in the flow's file, and the repository's settings of Actions, give the right."
    else:
        hint = f"Renew it with 'gh auth login', or set GITHUB_TOKEN to a token with {RIGHTS}."
    return Client(NAME, os.environ.get("GITHUB_API_URL") or _interface(_remote()["server"]), headers, hint)


def _pull_request() -> dict[str, Any] | None:
    """Return what GitHub tells of the pull request that this run checks, or None."""
    if not in_flow() or os.environ.get("GITHUB_EVENT_NAME") != "pull_request":
        return None
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    pull: dict[str, Any] = event["pull_request"]
    return pull


def _is_ours(comment: Mapping[str, Any]) -> bool:
    """Say whether a flow wrote a comment: a person who copied the mark could later change what stands there."""
    author = comment["user"] or {}  # nobody once the account is deleted
    return not in_flow() or author.get("type") == "Bot"


def _issue(entry: Mapping[str, Any]) -> Issue:
    return Issue(str(entry["number"]), entry["html_url"], entry["body"] or "")


def _remote() -> dict[str, str]:
    """Return the server and the name of the repository that the git remote `origin` is."""
    found = REMOTE.fullmatch(git.ask("remote", "get-url", "origin") or "")
    if found is None:
        raise ProjectError(
            "The git remote 'origin' names no repository on GitHub.",
            hint="git remote add origin https://github.com/OWNER/NAME.git",
        )
    return found.groupdict()


def _interface(server: str) -> str:
    """Return where a server is asked: github.com, a subdomain of ghe.com, or one of a company's own."""
    if server == "github.com" or server.endswith(".ghe.com"):
        return f"https://api.{server}"
    return f"https://{server}/api/v3"


def _token() -> str:
    token = os.environ.get("GITHUB_TOKEN", "")
    if not token and not in_flow() and shutil.which("gh"):
        done = subprocess.run(["gh", "auth", "token"], capture_output=True, text=True, check=False)
        token = done.stdout.strip()
    if token:
        return token
    if in_flow():
        hint = "Give the step `env: GITHUB_TOKEN:` with the flow's token, as the flows that came with the project do."
    else:
        hint = (
            f"Run 'gh auth login' (https://cli.github.com), or set GITHUB_TOKEN to a token with {RIGHTS}; "
            "https://github.com/settings/personal-access-tokens/new makes one."
        )
    raise ProjectError("There is no login for GitHub: GITHUB_TOKEN is not set.", hint=hint)
