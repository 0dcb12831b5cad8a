"""Pipeline jobs of Azure ML: their definition, and a job from its start to its end.

A job is plain JSON, and is named before it is made: making one again is refused, so a start whose answer was lost is
taken up. Azure ML knows no order of steps but by what one hands to the next. So each step writes a small folder `done`,
and those after it take it. What a step printed and how it ended lies in the container: `steps` puts it there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import HttpResponseError

from twoloops import config
from twoloops.errors import ProjectError
from twoloops.platforms.azure import assets, blobs, rest
from twoloops.platforms.azure.account import account, check_made, find_client_id, tags
from twoloops.platforms.azure.machines import Job
from twoloops.platforms.azure.rest import explain_errors
from twoloops.platforms.shared.loop import Attempt

PROGRAM = "python -m twoloops.platforms.azure.steps"
PROJECT = "/app"  # in the image
RESULTS = "steps"  # in a run's folder: what each step printed, and how it ended
LOG_LINES = 30
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two looks at a job
STOP_GRACE_SECONDS = 5.0  # in which a second Ctrl-C leaves a job alone
COMPLETED, FAILED, CANCELED = "Completed", "Failed", "Canceled"
ENDED = (COMPLETED, FAILED, CANCELED)
Tell = Callable[[str], None]
Json = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where jobs run: a workspace, its cluster, and whose rights they have."""

    environment: str | None
    cluster: str
    identity: str

    @property
    def workspace(self) -> str:
        """The workspace's path."""
        return check_made().workspace(self.environment)

    @property
    def compute(self) -> str:
        """The cluster's path."""
        return f"{self.workspace}/computes/{self.cluster}"


def component(place: Place, image: str, program: str, inputs: Sequence[str], before: int) -> str:
    """Let a workspace know a program, and return its path.

    Args:
        place: where it runs.
        image: the path of the workspace's image.
        program: the command.
        inputs: names of texts that it is given, in their order.
        before: so many steps have to succeed first.
    """
    words = " ".join(f"${{{{inputs.{name}}}}}" for name in inputs)
    spec = {
        "type": "command",
        "name": "step",
        "is_deterministic": False,  # or a step is not run that has run before
        "inputs": {
            **{name: {"type": "string"} for name in inputs},
            **{f"after_{place}": {"type": "uri_folder"} for place in range(before)},
        },
        "outputs": {"done": {"type": "uri_folder"}},
        "command": f"{program} --done ${{{{outputs.done}}}} {words}",
        "environment": f"azureml:{image}",
    }
    return assets.put(f"{place.workspace}/components/step", {"componentSpec": spec})


def step(
    place: Place,
    *,
    image: str,
    values: Mapping[str, str],
    environment: Mapping[str, str],
    job: Job,
    program: str = PROGRAM,
    after: Sequence[str] = (),
) -> Json:
    """Return a step that runs a container of the project.

    Args:
        place: where it runs.
        image: the path of the workspace's image.
        values: texts for the program, by their names.
        environment: of the container; nothing secret, for all who may look at the job read it.
        job: the machine.
        program: the command.
        after: the steps that have to succeed before.
    """
    given = dict(values) | {
        f"after_{number}": f"${{{{parent.jobs.{name}.outputs.done}}}}" for number, name in enumerate(after)
    }
    client = find_client_id(place.identity, place.environment)
    return {
        "type": "command",
        "componentId": component(place, image, program, list(values), len(after)),
        "computeId": place.compute,
        "inputs": {name: {"job_input_type": "literal", "value": value} for name, value in given.items()},
        "outputs": {"done": {"job_output_type": "uri_folder", "mode": "Upload"}},
        "identity": {"identity_type": "Managed", "client_id": client},
        "limits": {"job_limits_type": "Command", "timeout": job.limit},
        "environment_variables": {**environment, config.VARIABLE: PROJECT, "AZURE_CLIENT_ID": client},
    }


def definition(place: Place, steps: Mapping[str, Json], name: str) -> Json:
    """Return what a pipeline job consists of."""
    return {
        "jobType": "Pipeline",
        "experimentName": config.current().package,
        "displayName": name,
        "tags": tags(),
        "computeId": place.compute,
        "settings": {"force_rerun": True, "continue_on_step_failure": False, "default_compute": place.compute},
        "jobs": dict(steps),
    }


def find_attempt(place: Place, inputs: str) -> Attempt:
    """Return the job of these inputs that is under way, or the name of the next one.

    Args:
        place: where it runs.
        inputs: a digest of what goes into the job.
    """
    number = 1
    with explain_errors("Looking for the job"):
        while found := rest.find(f"{place.workspace}/jobs/{inputs}-{number}"):
            if found["properties"]["status"] not in (*ENDED, "CancelRequested"):
                return Attempt(f"{inputs}-{number}", f"{place.workspace}/jobs/{inputs}-{number}")
            number += 1
    return Attempt(f"{inputs}-{number}", None)


def start(place: Place, name: str, content: Json) -> str:
    """Start a job, and return its path. Starting the same name twice starts it once."""
    path = f"{place.workspace}/jobs/{name}"
    with explain_errors(f"Starting the job {name}"):
        try:
            rest.ask("PUT", path, {"properties": content})
        except HttpResponseError:
            if rest.find(path) is None:
                raise
    return path


def wait(path: str, run: str, tell: Tell) -> ProjectError | None:
    """Wait until a job has ended, tell of each step, and return what to tell people if it has not succeeded.

    Ctrl-C stops the job; a second one, soon after, leaves it alone.

    Args:
        path: the job's.
        run: the folder in the container in which its steps say how they ended.
        tell: prints a line.

    Raises:
        KeyboardInterrupt: somebody pressed Ctrl-C.
    """
    tell(f"The job's page: {page(path)}")
    try:
        status = _watch(path, run, tell)
    except KeyboardInterrupt:
        tell(
            f"Stopping the job in {STOP_GRACE_SECONDS:.0f} seconds. Ctrl-C once more leaves it alone; the same "
            "verb then takes it up again."
        )
        time.sleep(STOP_GRACE_SECONDS)
        with explain_errors("Stopping the job"):
            rest.ask("POST", f"{path}/cancel")
        tell("It is being stopped.")
        raise
    return None if status == COMPLETED else _explain_failure(path, run, status)


def _watch(path: str, run: str, tell: Tell) -> str:
    told: set[str] = set()
    pause = FIRST_PAUSE
    while True:
        # First the whole, then its steps: so that nothing of an ended job is missed.
        with explain_errors("Looking at the job"):
            status = str(rest.ask("GET", path)["properties"]["status"])
        for name, each in _ended(run).items():
            if name not in told:
                told.add(name)
                tell(f"{name}: {'failed' if each['code'] else 'succeeded'} after {each['seconds']:.0f} s")
        if status in ENDED:
            return status
        time.sleep(pause)
        pause = min(pause * 1.3, LONGEST_PAUSE)


def _ended(run: str) -> dict[str, Json]:
    """Return how the steps ended that have ended, by their names."""
    names = [each for each in blobs.sizes(f"{run}/{RESULTS}") if each.endswith(".json")]
    found = {each.removesuffix(".json"): json.loads(blobs.read_bytes(f"{run}/{RESULTS}/{each}")) for each in names}
    return dict(sorted(found.items(), key=lambda each: each[1]["ended"]))


def page(path: str) -> str:
    """Return the address of a job's page in the studio."""
    workspace, _, name = path.partition("/jobs/")
    return f"https://ml.azure.com/runs/{name}?wsid={workspace}&tid={account().tenant}"


def _explain_failure(path: str, run: str, status: str) -> ProjectError:
    if status == CANCELED:
        return ProjectError("The job was stopped.", hint="The same verb starts another one.")
    failed = next(((name, each) for name, each in _ended(run).items() if each["code"]), None)
    if failed is None:
        with explain_errors("Looking at the job"):
            said = (rest.ask("GET", path)["properties"].get("error") or {}).get("message", "")
        return ProjectError(
            f"The job failed before a step began, or with its machine: {said or 'Azure does not say why'}",
            hint=f"{page(path)} tells more. If it names an identity or an image: 'bootstrap' makes the rights.",
        )
    name, each = failed
    log = blobs.read_bytes(f"{run}/{RESULTS}/{name}.txt").decode(errors="replace").splitlines()
    lines = "".join(f"\n  {line.rstrip()}" for line in log[-LOG_LINES:])
    return ProjectError(
        f"The step {name} failed on the platform, with exit code {each['code']}:{lines}",
        hint=f"The whole log: {page(path)}. Put it right, and run the same verb again.",
    )
