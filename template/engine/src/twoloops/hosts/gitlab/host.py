"""The code host, GitLab: what the flows show there, ask for, and start.

Repository and addresses come from the variables of a pipeline's job; outside of one, from git's remote `origin`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from twoloops import git
from twoloops.contracts.host import Issue
from twoloops.errors import ProjectError
from twoloops.hosts.web import Client, HostError
from twoloops.paths import JOB_VARIABLES, paths
from twoloops.storage import replacing

NAME: Final = "GitLab"
TOKEN = "GITLAB_TOKEN"  # noqa: S105 - a name
REPORT_TOKEN = "GITLAB_REPORT_TOKEN"  # noqa: S105 - a name
TOKEN_HINT = (
    "Make a project access token (Settings > Access tokens) with the role Developer and the scopes api and "
    f"write_repository, and keep it as the masked and protected CI/CD variable {TOKEN} (Settings > CI/CD > Variables). "
    f"On your own machine: export {TOKEN}=..., with the role Maintainer for 'bootstrap'."
)
# Whoever may push a branch can read what its pipeline knows.
REPORT_HINT = (
    "For comments make another project access token, with the role Reporter and the scope api, and keep it as the "
    f"masked CI/CD variable {REPORT_TOKEN}: the pipeline of a change gets no token that may write code or merge."
)
# The jobs of .gitlab/ci/ hand it on as a dotenv report: its lines are variables of later jobs.
PAGE = 100  # entries: as many as GitLab gives at once
REMOTE = re.compile(
    r"^(?:(?:https?|ssh|git)://(?:[^@/]*@)?|[^@/]+@)(?P<host>[^/:]+(?::\d+(?=/))?)[/:](?P<path>.+?)(?:\.git)?/?$"
)


def in_flow() -> bool:
    """Say whether this process runs in a job of a pipeline."""
    return os.environ.get("GITLAB_CI") == "true"


def run_url() -> str | None:
    """Return the page of this job, which has its log and artifacts; None outside of one."""
    return os.environ.get("CI_JOB_URL") or None


def change() -> str | None:
    """Return the number of the merge request that this pipeline checks, or None."""
    return os.environ.get("CI_MERGE_REQUEST_IID") or None


def base() -> str | None:
    """Return the git revision to compare a merge request with; None when there is none."""
    target = os.environ.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
    return f"origin/{target}" if target else None


def from_fork() -> bool:
    """Say whether the merge request comes from a fork: no secrets then, and no right to write."""
    source = os.environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
    return source is not None and source != os.environ.get("CI_MERGE_REQUEST_PROJECT_ID")


def main_branch() -> str:
    """Return the branch that changes go into."""
    return os.environ.get("CI_DEFAULT_BRANCH") or "main"


def set_output(name: str, value: str) -> None:
    """Hand a value to later jobs, as the variable MODEL_<NAME>; outside of a flow nothing is done.

    Raises:
        ProjectError: the value has more than one line, which the file cannot hold.
    """
    if not in_flow():
        return
    if "\n" in value or "\r" in value:
        raise ProjectError(f"The output {name} has more than one line.", hint="A dotenv report holds one line a value.")
    key = f"MODEL_{name.upper()}"
    lines = paths().outputs.read_text(encoding="utf-8").splitlines() if paths().outputs.exists() else []
    lines = [line for line in lines if not line.startswith(f"{key}=")]
    with replacing(paths().outputs) as new:
        new.write_text("".join(f"{line}\n" for line in [*lines, f"{key}={value}"]), encoding="utf-8")


def set_variable(name: str, value: str, *, secret: bool = False) -> None:
    """Set a variable for the later verbs of this job: by a file, since the lines of a script share none.

    GitLab masks nothing that it has not been told before the job, so a secret is refused.

    Raises:
        ProjectError: this is no job of a flow that says where the file is, or the value does not fit into a line.
    """
    path = os.environ.get(JOB_VARIABLES) if in_flow() else None
    if not path:
        raise ProjectError(
            "This is no job of a pipeline that can hand variables on.",
            hint=f"Its file sets {JOB_VARIABLES}, as .gitlab/ci/cloud.yml does.",
        )
    if secret or "\n" in value or "\r" in value:
        raise ProjectError(f"GitLab cannot hand {name} on: it is secret, or has more than one line.")
    file = Path(path)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    lines = [line for line in lines if not line.startswith(f"{name}=")]
    with replacing(file) as new:
        new.write_text("".join(f"{line}\n" for line in [*lines, f"{name}={value}"]), encoding="utf-8")


def variables() -> Mapping[str, str]:
    """Return the project's variables: in a job they are the environment's."""
    return os.environ if in_flow() else {}


def temporary_folder() -> Path:
    """Return a folder of this job beside the checkout, where the runner keeps files of its own, and nobody else reads.

    Raises:
        ProjectError: this is no job of a flow.
    """
    if not in_flow():
        raise ProjectError("This is no job of a pipeline.", hint="Flows run it; log in here by your own means.")
    folder = Path(f"{os.environ['CI_PROJECT_DIR']}.tmp", os.environ["CI_JOB_ID"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def add_summary(markdown: Path) -> None:
    """Show a page in the job's log, folded: GitLab has no other place for it. Outside of a flow nothing is done."""
    if not in_flow():
        return
    section, now = markdown.stem, int(time.time())
    # https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
    print(f"\x1b[0Ksection_start:{now}:{section}[collapsed=true]\r\x1b[0K{markdown}", file=sys.stderr)
    print(markdown.read_text(encoding="utf-8"), file=sys.stderr)
    print(f"\x1b[0Ksection_end:{now}:{section}\r\x1b[0K", file=sys.stderr)


def comment(number: str, mark: str, body: str) -> str:
    """Write the one comment on a merge request whose text holds `mark`, or bring it up to date.

    Args:
        number: of the merge request.
        mark: an HTML comment, which readers do not see.
        body: Markdown; the mark is put before it, where it does not stand there.

    Returns:
        The comment's address.

    Raises:
        ProjectError: no token, or GitLab refuses.
    """
    client = api()
    notes = f"{project()}/merge_requests/{number}/notes"
    text = body if body.startswith(mark) else f"{mark}\n{body}"
    found = _find_marked(client, notes, mark)
    if not found:
        client.ask("POST", notes, {"body": text})
        # Looked for again: another pipeline of the same change may have written meanwhile. The oldest stays.
        found = _find_marked(client, notes, mark)
    first, *others = found
    if first["body"] != text:
        client.ask("PUT", f"{notes}/{first['id']}", {"body": text})
    for note in others:
        client.ask("DELETE", f"{notes}/{note['id']}")
    return f"{_page()}/-/merge_requests/{number}#note_{first['id']}"


def _find_marked(client: Client, notes: str, mark: str) -> list[dict[str, Any]]:
    """Return the comments with the mark, the oldest first."""
    found = [note for note in client.pages(notes, per_page=PAGE) if mark in note["body"]]
    return sorted(found, key=lambda note: int(note["id"]))


def find_issue(label: str) -> Issue | None:
    """Return the open issue with this label, the oldest if there are several; None without one."""
    conditions = {"labels": label, "state": "opened", "order_by": "created_at", "sort": "asc"}
    found = api().get(f"{project()}/issues", **conditions)
    return _issue(found[0]) if found else None


def open_issue(title: str, body: str, label: str) -> Issue:
    """Open an issue with a label; when another run was quicker, bring its issue up to date instead."""
    client = api()
    made = _issue(client.ask("POST", f"{project()}/issues", {"title": title, "description": body, "labels": label}))
    oldest = find_issue(label) or made
    if oldest.number == made.number:
        return made
    client.ask("PUT", f"{project()}/issues/{made.number}", {"state_event": "close"})
    update_issue(oldest, body)
    return oldest


def update_issue(issue: Issue, body: str) -> None:
    """Replace an issue's description."""
    api().ask("PUT", f"{project()}/issues/{issue.number}", {"description": body})


def close_issue(issue: Issue, body: str) -> None:
    """Say in a comment why an issue is closed, and close it."""
    client = api()
    client.ask("POST", f"{project()}/issues/{issue.number}/notes", {"body": body})
    client.ask("PUT", f"{project()}/issues/{issue.number}", {"state_event": "close"})


def _issue(content: Mapping[str, Any]) -> Issue:
    return Issue(str(content["iid"]), content["web_url"], content["description"] or "")


def start(flow: str, inputs: Mapping[str, str]) -> str | None:
    """Start a flow on the main branch and return its pipeline's address.

    Args:
        flow: an option of the input `flow` in .gitlab-ci.yml.
        inputs: further inputs.
    """
    content = {"ref": main_branch(), "inputs": {"flow": flow, **inputs}}
    made = api().ask("POST", f"{project()}/pipeline", content)
    return str(made["web_url"])


def propose(branch: str, title: str, body: str) -> str:
    """Open a merge request from a branch that was pushed, or bring the open one up to date; return its address."""
    client = api()
    requests = f"{project()}/merge_requests"
    ends = {"source_branch": branch, "target_branch": main_branch()}
    content = {"title": title, "description": body}
    found = client.get(requests, state="opened", **ends)
    if not found:
        try:
            made = client.ask("POST", requests, {**ends, **content, "remove_source_branch": True})
        except HostError as error:
            if error.status != 409:  # another run has opened it meanwhile
                raise
            found = client.get(requests, state="opened", **ends)
        else:
            return str(made["web_url"])
    return str(client.ask("PUT", f"{requests}/{found[0]['iid']}", content)["web_url"])


def api() -> Client:
    """Return GitLab's interface, with the login.

    Raises:
        ProjectError: there is no token.
    """
    name, hint = (REPORT_TOKEN, REPORT_HINT) if change() else (TOKEN, TOKEN_HINT)
    token = os.environ.get(name)
    if not token:
        raise ProjectError(f"The variable {name} is not set, and {NAME} wants a login.", hint=hint)
    root = os.environ.get("CI_API_V4_URL") or f"https://{_remote()[0]}/api/v4"
    return Client(NAME, root, {"Authorization": f"Bearer {token}"}, hint)


def project() -> str:
    """Return the path of this project in GitLab's interface."""
    return f"projects/{os.environ.get('CI_PROJECT_ID') or quote(_remote()[1], safe='')}"


def _page() -> str:
    """Return the address of the project's page."""
    return os.environ.get("CI_PROJECT_URL") or "https://{}/{}".format(*_remote())


def _remote() -> tuple[str, str]:
    """Return the host and the path of the remote `origin`."""
    said = git.ask("remote", "get-url", "origin") or ""
    found = REMOTE.match(said)
    if found is None:
        raise ProjectError(
            f"git's remote 'origin' is {said!r}: that leads to no project on {NAME}.",
            hint="Make an empty project on GitLab, then: git remote add origin https://gitlab.com/GROUP/NAME.git",
        )
    host = found["host"] if said.startswith("http") else found["host"].partition(":")[0]  # a port of SSH is no other's
    return host, found["path"]
