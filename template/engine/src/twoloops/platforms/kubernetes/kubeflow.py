"""Runs of Kubeflow Pipelines, by its REST interface, which the API server hands on: one login for all.

https://www.kubeflow.org/docs/components/pipelines/reference/api/kubeflow-pipeline-api-spec/. A run carries its pipeline
with it, so nothing has to be uploaded before. What a run has made is read from the project's object store, never from
Kubeflow's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from twoloops.errors import ProjectError
from twoloops.platforms.kubernetes import jobs
from twoloops.platforms.kubernetes.api import Api, RefusedError, explain, explain_errors, namespaced
from twoloops.platforms.kubernetes.cluster import settings
from twoloops.platforms.shared.loop import Attempt

RUNS = "/apis/v2beta1/runs"
PAGE, PAGES = 100, 5  # so many of the newest runs are looked through for one that is under way
SUCCEEDED, FAILED = "SUCCEEDED", "FAILED"
ENDED = (SUCCEEDED, FAILED, "SKIPPED", "CANCELED")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
STOP_GRACE_SECONDS = 5.0
CONTAINER = "main"  # as its pods call the container of a step
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Kubeflow:
    """Kubeflow Pipelines in the cluster."""

    api: Api
    namespace: str
    service: str  # with its port

    @classmethod
    def of(cls, api: Api) -> Kubeflow:
        """Return the one that bootstrap/ knows of.

        Raises:
            ProjectError: it knows of none.
        """
        namespace, _, service = (settings().kubeflow or "").partition("/")
        if not service:
            raise ProjectError(
                "The project runs its loop by Kubeflow Pipelines, and nothing says where that is.",
                hint="Set kubeflow in infra/bootstrap/terraform.tfvars, such as kubeflow/ml-pipeline:8888, and run "
                "infra/bootstrap.sh; or take jobs: pipelines in [tool.twoloops.kubernetes].",
            )
        return cls(api, namespace, service)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        where = namespaced("v1", "services", self.namespace, self.service, "proxy")
        try:
            return self.api.call(method, where + path, body)
        except RefusedError as refused:
            if refused.status in (404, 503):
                raise ProjectError(
                    f"Kubeflow Pipelines does not answer at {self.namespace}/{self.service}: {refused.message}",
                    hint="Is it there, 2.x, and does kubeflow in infra/bootstrap/terraform.tfvars name it?",
                ) from refused
            raise explain("Asking Kubeflow Pipelines", refused) from refused

    def find_attempt(self, inputs: str) -> Attempt:
        """Return the run of these inputs that is under way, or the name of the next one."""
        taken = 0
        with explain_errors("Looking at the runs of Kubeflow Pipelines"):
            for each in self._newest():
                label, _, number = each.get("display_name", "").rpartition("-")
                if label == inputs and number.isdigit():
                    if each.get("state") not in ENDED:
                        return Attempt(each["display_name"], each["run_id"])
                    taken = max(taken, int(number))
        return Attempt(f"{inputs}-{taken + 1}", None)

    def _newest(self) -> Iterator[dict[str, Any]]:
        token = ""
        for _ in range(PAGES):
            query = {"page_size": PAGE, "sort_by": "created_at desc", "page_token": token}
            page = self._call("GET", f"{RUNS}?{urlencode(query)}")
            yield from page.get("runs", [])
            token = page.get("next_page_token", "")
            if not token:
                return

    def start(self, name: str, specification: Mapping[str, Any], account: str) -> str:
        """Start a run, and return its identifier.

        Args:
            name: what people see.
            specification: of the pipeline, with or without what is the platform's.
            account: the service account of its pods.
        """
        body = {
            "display_name": name,
            "pipeline_spec": specification,
            "runtime_config": {},
            "service_account": account,
        }
        with explain_errors(f"Starting the run {name}"):
            return str(self._call("POST", RUNS, body)["run_id"])

    def wait(self, run: str, tell: Tell) -> ProjectError | None:
        """Wait until a run has ended, and return what to tell people if it has not succeeded.

        Ctrl-C ends the run; a second one, soon after, leaves it alone.

        Raises:
            KeyboardInterrupt: somebody pressed Ctrl-C.
        """
        try:
            return self._watch(run, tell)
        except KeyboardInterrupt:
            tell(
                f"Ending the run in {STOP_GRACE_SECONDS:.0f} seconds. Ctrl-C once more leaves it alone; the same verb "
                "then takes it up again."
            )
            time.sleep(STOP_GRACE_SECONDS)
            with explain_errors("Ending the run"):
                self._call("POST", f"{RUNS}/{quote(run)}:terminate", {})
            tell("It is being ended.")
            raise

    def _watch(self, run: str, tell: Tell) -> ProjectError | None:
        told: set[tuple[str, str]] = set()
        pause = FIRST_PAUSE
        while True:
            with explain_errors("Looking at the run"):
                found = self._call("GET", f"{RUNS}/{quote(run)}")
            tasks = found.get("run_details", {}).get("task_details", [])
            for each in tasks:
                state, name = each.get("state", ""), each.get("display_name", "")
                if _is_step(name) and state in ("RUNNING", *ENDED) and (name, state) not in told:
                    told.add((name, state))
                    tell(f"{name}: {state.lower()}")
            if found.get("state") in ENDED:
                return None if found["state"] == SUCCEEDED else self._explain(found, tasks)
            time.sleep(pause)
            pause = min(pause * 1.3, LONGEST_PAUSE)

    def _explain(self, run: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]]) -> ProjectError:
        if run["state"] == "CANCELED":
            return ProjectError("The run was ended.", hint="The same verb starts another one.")
        # The task of the whole fails with its first step: the step is the one that has a pod.
        failed = next((each for each in tasks if each.get("state") == FAILED and _pod(each)), None)
        if failed is None:
            reason = run.get("error", {}).get("message") or "no reason is given"
            return ProjectError(
                f"The run {run.get('display_name', '')} failed before a step began: {reason}",
                hint="Kubeflow's page of the run says more.",
            )
        lines = jobs.read_log(self.api, self.namespace, _pod(failed), CONTAINER)
        reason = failed.get("error", {}).get("message") or "its container ended with an error"
        return ProjectError(
            f"The step {failed['display_name']} failed on the platform: {reason}"
            + "".join(f"\n  {line}" for line in lines),
            hint=f"The whole log: kubectl --namespace {self.namespace} logs {_pod(failed)} --container {CONTAINER}. "
            "Put it right, and run the same verb again.",
        )


def _is_step(name: str) -> bool:
    """Say whether a task is a step: the whole has one too, and so has what starts each."""
    return bool(name) and name != "root" and not name.endswith("-driver")


def _pod(task: Mapping[str, Any]) -> str:
    """Return the pod of a task: the driver's child tasks have it, or the task itself."""
    children = [each.get("pod_name", "") for each in task.get("child_tasks", [])]
    return str(task.get("pod_name") or next((name for name in reversed(children) if name), ""))
