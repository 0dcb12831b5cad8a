"""The code host is Azure DevOps: what flows show there, ask of people, and start. Only this knows it, and settings.py.

The paths, and what they take and give, are those of https://learn.microsoft.com/rest/api/azure/devops.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from twoloops import config, git
from twoloops.contracts.host import Issue
from twoloops.errors import ProjectError
from twoloops.hosts.web import Client

NAME: Final = "Azure DevOps"
MAIN = "refs/heads/main"
# The newest revision of each resource: several that are needed have never left their preview.
API_VERSION = "7.2-preview"
RESOURCE = "499b84ac-1321-427f-aa17-267ca6975798"  # Azure DevOps itself, when the Azure CLI is asked for a token
SCOPES = (
    "Agent Pools (read & manage), Build (read & execute), Code (full), Environment (read & manage), Identity (read), "
    "Security (manage), Variable Groups (read, create & manage) and Work Items (read & write)"
)
ISSUE_TYPE = "Task"  # the one type of work item that every process has
# Azure DevOps refuses more characters.
LONGEST_COMMENT = 150_000
LONGEST_DESCRIPTION = 4_000  # of a pull request
CUT = "\n\n… cut here: the rest is among the files that the run keeps.\n"
REMOTES = (
    # The last part of the path before _git is the project; what is before it belongs to the address.
    re.compile(r"(?P<scheme>https?)://(?:[^/@]+@)?(?P<server>[^/]+)/(?P<path>.*?)/?_git/(?P<repository>[^/]+)/?"),
    re.compile(r"(?:ssh://)?git@ssh\.dev\.azure\.com(?::22)?[:/]v3/(?P<path>[^/]+/[^/]+)/(?P<repository>[^/]+)/?"),
)


@dataclass(frozen=True)
class Place:
    """Where the project is on Azure DevOps."""

    collection: str  # the organization's address, with a slash at its end
    project: str
    repository: str

    @property
    def web(self) -> str:
        """The project's address."""
        return f"{self.collection}{quote(self.project)}"

    def api(self, path: str, *, of: str = "project") -> str:
        """Return the address of a path of the interface, below the project or the repository."""
        below = f"/git/repositories/{quote(self.repository)}" if of == "repository" else ""
        return f"{self.web}/_apis{below}/{path}"


def in_flow() -> bool:
    """Say whether this process runs in a flow on Azure DevOps."""
    return os.environ.get("TF_BUILD") == "True"


def run_url() -> str | None:
    """Return the page of this run, or None outside a flow."""
    return f"{place().web}/_build/results?buildId={os.environ['BUILD_BUILDID']}" if in_flow() else None


def change() -> str | None:
    """Return the number of the pull request that this run checks, or None."""
    return os.environ.get("SYSTEM_PULLREQUEST_PULLREQUESTID") or None if in_flow() else None


def base() -> str | None:
    """Return the git revision to compare a pull request with, or None when this run checks none."""
    if change() is None:
        return None
    return "origin/" + os.environ["SYSTEM_PULLREQUEST_TARGETBRANCH"].removeprefix("refs/heads/")


def from_fork() -> bool:
    """Say whether the pull request comes from a fork: then there are no secrets, and no right to write."""
    return change() is not None and os.environ.get("SYSTEM_PULLREQUEST_ISFORK") == "True"


def set_output(name: str, value: str) -> None:
    """Hand a value to later jobs; does nothing outside a flow."""
    if in_flow():
        _command(f"task.setvariable variable={name};isOutput=true", value)


def set_variable(name: str, value: str, *, secret: bool = False) -> None:
    """Set a variable for the later steps of this job; a secret one reaches only the steps whose `env` names it.

    Raises:
        ProjectError: this is no job of a flow.
    """
    _demand_flow()
    _command(f"task.setvariable variable={name}{';issecret=true' if secret else ''}", value)


def variables() -> Mapping[str, str]:
    """Return the variables of the pipeline's groups: those that are not secret are the environment's."""
    return os.environ if in_flow() else {}


def temporary_folder() -> Path:
    """Return the folder that the agent empties after the job.

    Raises:
        ProjectError: this is no job of a flow.
    """
    _demand_flow()
    return Path(os.environ["AGENT_TEMPDIRECTORY"])


def _demand_flow() -> None:
    if not in_flow():
        raise ProjectError(f"This is no job on {NAME}.", hint="Flows run it; log in here by your own means.")


def add_summary(markdown: Path) -> None:
    """Show a page with the run; does nothing outside a flow."""
    if in_flow():
        _command("task.uploadsummary", str(markdown.resolve()))


def comment(number: str, mark: str, body: str) -> str:
    """Create, or bring up to date, the one comment on a pull request that bears the mark; return its address.

    Args:
        number: of the pull request.
        mark: an HTML comment, which readers do not see.
        body: Markdown; the mark is put before it, where it does not stand there.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    azure, threads = client(), place().api(f"pullRequests/{number}/threads", of="repository")
    text = body if body.startswith(mark) else f"{mark}\n{body}"
    content = {"content": text if len(text) <= LONGEST_COMMENT else text[: LONGEST_COMMENT - len(CUT)] + CUT}

    def find_marked() -> list[tuple[int, int]]:
        return [
            (thread["id"], entry["id"])
            for thread in azure.get(threads)["value"]
            for entry in thread["comments"]
            if not entry.get("isDeleted") and (entry.get("content") or "").startswith(mark)
        ]

    present = find_marked()
    if not present:
        # Closed: a thread that is open would hold up a project that wants all of them settled.
        new = {"comments": [{"parentCommentId": 0, "commentType": "text", **content}], "status": "closed"}
        made = azure.ask("POST", threads, new)
        present = sorted(find_marked()) or [(made["id"], made["comments"][0]["id"])]
        if present[0][0] != made["id"]:
            # Another run was quicker by a moment: its comment is the one, and shows what is newest.
            azure.ask("DELETE", f"{threads}/{made['id']}/comments/{made['comments'][0]['id']}")
    thread, entry = min(present)
    azure.ask("PATCH", f"{threads}/{thread}/comments/{entry}", content)
    return f"{place().web}/_git/{quote(place().repository)}/pullrequest/{number}?discussionId={thread}"


def find_issue(label: str) -> Issue | None:
    """Return the oldest open work item of this repository with the tag, or None.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    azure, here = client(), place()
    tags = {label, here.repository}
    wanted = [f"[System.WorkItemType] = '{ISSUE_TYPE}'", "[System.TeamProject] = @project"]
    wanted += [f"[System.Tags] CONTAINS {_quoted(tag)}" for tag in sorted(tags)]
    wanted += [f"[System.State] <> {_quoted(state)}" for state in _states("Completed", "Removed")]
    query = " ".join(["SELECT [System.Id] FROM WorkItems WHERE", " AND ".join(wanted), "ORDER BY [System.Id]"])
    found = azure.ask("POST", here.api("wit/wiql"), {"query": query}, query={"$top": 100})["workItems"]
    for entry in found:
        item = azure.get(here.api(f"wit/workitems/{entry['id']}"))
        if tags <= {tag.strip() for tag in item["fields"].get("System.Tags", "").split(";")}:
            return _issue(item)
    return None


def open_issue(title: str, body: str, label: str) -> Issue:
    """Open a work item with the tag, and return it, or the one that another run opened at the same moment.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    here = place()
    fields = {"System.Title": title[:255], "System.Tags": f"{label}; {here.repository}", "System.Description": body}
    made = _issue(_edit("POST", here.api(f"wit/workitems/${ISSUE_TYPE}"), fields))
    first = find_issue(label) or made
    if int(first.number) < int(made.number):
        close_issue(made, f"Another run opened {first.url} at the same moment.")
        return first
    return made


def update_issue(issue: Issue, body: str) -> None:
    """Replace a work item's description.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    _edit("PATCH", place().api(f"wit/workitems/{issue.number}"), {"System.Description": body})


def close_issue(issue: Issue, body: str) -> None:
    """Say in a comment why, and close a work item.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    closed = _states("Completed")[0]
    _edit("PATCH", place().api(f"wit/workitems/{issue.number}"), {"System.State": closed, "System.History": body})


def start(flow: str, inputs: Mapping[str, str]) -> str | None:
    """Start a flow on the main branch, and return the address of its run.

    Raises:
        ProjectError: there is no login, or no such pipeline.
        HostError: Azure DevOps refuses or does not answer.
    """
    azure, here = client(), place()
    name = pipeline_name(flow)
    found = azure.get(here.api("build/definitions"), name=name)["value"]
    if not found:
        raise ProjectError(f"{NAME} has no pipeline {name}.", hint="The verb 'bootstrap' makes the pipelines.")
    content = {
        "resources": {"repositories": {"self": {"refName": MAIN}}},
        # A parameter cannot be given the empty text.
        "templateParameters": {key: value for key, value in inputs.items() if value},
    }
    answer = azure.ask("POST", here.api(f"pipelines/{found[0]['id']}/runs"), content)
    return str(answer["_links"]["web"]["href"])


def propose(branch: str, title: str, body: str) -> str:
    """Open a pull request from a branch into main, or bring the open one up to date; return its address.

    Raises:
        ProjectError: there is no login.
        HostError: Azure DevOps refuses or does not answer.
    """
    azure, pulls = client(), place().api("pullrequests", of="repository")
    source = f"refs/heads/{branch}"
    criteria = {"sourceRefName": source, "targetRefName": MAIN, "status": "active"}
    present = azure.get(pulls, **{f"searchCriteria.{name}": value for name, value in criteria.items()})["value"]
    if len(body) > LONGEST_DESCRIPTION:
        body = body[: LONGEST_DESCRIPTION - len(CUT)] + CUT
    content = {"title": title[:400], "description": body}
    if present:
        answer = azure.ask("PATCH", f"{pulls}/{present[0]['pullRequestId']}", content)
    else:
        answer = azure.ask("POST", pulls, content | {"sourceRefName": source, "targetRefName": MAIN})
    return f"{place().web}/_git/{quote(place().repository)}/pullrequest/{answer['pullRequestId']}"


def pipeline_name(flow: str) -> str:
    """Return what the pipeline of a flow is called: names are unique in a project, which may hold other packages."""
    return f"{config.current().package}-{flow}"


def place() -> Place:
    """Return where the project is.

    Raises:
        ProjectError: neither the flow nor the git remote `origin` names a repository on Azure DevOps.
    """
    if in_flow():
        names = ("SYSTEM_COLLECTIONURI", "SYSTEM_TEAMPROJECT", "BUILD_REPOSITORY_NAME")
        collection, project, repository = (os.environ[name] for name in names)
        return Place(f"{collection.rstrip('/')}/", project, repository)
    origin = git.ask("remote", "get-url", "origin") or ""
    for remote in REMOTES:
        if found := remote.fullmatch(origin):
            return _place(**found.groupdict())
    raise ProjectError(
        "The git remote 'origin' names no repository on Azure DevOps.",
        hint="git remote add origin https://dev.azure.com/ORGANIZATION/PROJECT/_git/REPOSITORY",
    )


def _place(path: str, repository: str, scheme: str = "https", server: str = "dev.azure.com") -> Place:
    parts = [unquote(part) for part in path.split("/") if part and part != "DefaultCollection"]
    repository = unquote(repository)
    # In https://dev.azure.com/organization/_git/name the project has the repository's name.
    before = 0 if server.endswith(".visualstudio.com") else 1
    project = parts.pop() if len(parts) > before else repository
    return Place("/".join([f"{scheme}://{server}", *map(quote, parts), ""]), project, repository)


def client() -> Client:
    """Return a client that is logged in.

    Raises:
        ProjectError: there is no login.
    """
    headers = {
        "Accept": f"application/json;api-version={API_VERSION}",
        "Authorization": _login(),
        "X-TFS-FedAuthRedirect": "Suppress",  # a login that has expired is answered with 401, not with a page
    }
    if in_flow():
        hint = "The verb 'bootstrap' gives the pipelines' identity its rights (Project settings > Permissions)."
    else:
        hint = f"Renew the login: 'az login', or AZURE_DEVOPS_EXT_PAT with a token that has the scopes {SCOPES}."
    return Client(NAME, place().collection, headers, hint)


def _login() -> str:
    if token := os.environ.get("SYSTEM_ACCESSTOKEN"):
        return f"Bearer {token}"
    if token := os.environ.get("AZURE_DEVOPS_EXT_PAT"):
        return "Basic " + base64.b64encode(f":{token}".encode()).decode()
    if in_flow():
        raise ProjectError(
            f"There is no login for {NAME}: SYSTEM_ACCESSTOKEN is not set.",
            hint="Give the step `env: SYSTEM_ACCESSTOKEN: $(System.AccessToken)`, as the project's own flows do.",
        )
    if shutil.which("az"):
        command = ["az", "account", "get-access-token", f"--resource={RESOURCE}", "--query=accessToken", "--output=tsv"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if token := done.stdout.strip():
            return f"Bearer {token}"
    raise ProjectError(
        f"There is no login for {NAME}: AZURE_DEVOPS_EXT_PAT is not set.",
        hint="Run 'az login' (https://learn.microsoft.com/cli/azure/install-azure-cli), or set AZURE_DEVOPS_EXT_PAT to "
        f"a token with the scopes {SCOPES}; {place().collection}_usersSettings/tokens makes one.",
    )


def _command(command: str, data: str) -> None:
    """Print a line that the agent obeys."""
    for sign, escape in (("%", "%AZP25"), ("\r", "%0D"), ("\n", "%0A")):
        data = data.replace(sign, escape)
    print(f"##vso[{command}]{data}", flush=True)


def _edit(method: str, address: str, fields: Mapping[str, str]) -> Any:
    changes = [{"op": "add", "path": f"/fields/{name}", "value": value} for name, value in fields.items()]
    changes += [
        {"op": "add", "path": f"/multilineFieldsFormat/{name}", "value": "Markdown"}
        for name in fields
        if name == "System.Description"
    ]
    return client().ask(method, address, changes, kind="application/json-patch+json")


def _states(*categories: str) -> list[str]:
    """Return the names that the project's process has for states of these categories."""
    states = client().get(place().api(f"wit/workitemtypes/{ISSUE_TYPE}/states"))["value"]
    return [state["name"] for state in states if state["category"] in categories]


def _quoted(text: str) -> str:
    """Return a text of the query language."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _issue(item: Mapping[str, Any]) -> Issue:
    url = f"{place().web}/_workitems/edit/{item['id']}"
    return Issue(str(item["id"]), url, item["fields"].get("System.Description", ""))
