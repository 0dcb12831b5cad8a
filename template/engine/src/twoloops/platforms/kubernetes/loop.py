"""The inner loop on the cluster: one Job whose containers are the graph's steps, or a run of Kubeflow Pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twoloops import lineage
from twoloops.contracts.graph import Graph, Step, label
from twoloops.errors import ProjectError
from twoloops.pipelines import kfp
from twoloops.platforms.kubernetes import images, jobs, machines, pods, store
from twoloops.platforms.kubernetes.api import Object, explain_errors
from twoloops.platforms.kubernetes.cluster import api, chosen, home, name, settings
from twoloops.platforms.kubernetes.kubeflow import Kubeflow
from twoloops.platforms.shared import loop
from twoloops.platforms.shared.loop import Attempt
from twoloops.platforms.shared.objects import ObjectStore

COMPONENT = ACCOUNT = "training"
PROGRAM = ["python", "-m", "twoloops.platforms.kubernetes.steps"]


class Jobs:
    """Runs the loop as a Job in the project's own namespace: one step after the other, in the graph's order."""

    store: ObjectStore = store

    @property
    def home(self) -> str:
        """The project's place in the object store."""
        return home()

    def default_tracking_uri(self) -> str | None:
        """Return the MLflow server that bootstrap/ knows of."""
        return settings().tracking_uri

    def image(self, kind: str) -> str:
        """Return an image of this very code, by its digest."""
        return images.reference(kind)

    def find_attempt(self, inputs: str) -> Attempt:
        """Return the Job of these inputs that is under way, or the name of the next one."""
        with explain_errors("Looking at the jobs"):
            return jobs.find_attempt(api(), name(), f"train-{inputs}")

    def start(self, called: str, graph: Graph, parameters: dict[str, str]) -> str:
        """Start the Job, and return its name."""
        with explain_errors(f"Starting the job {called}"):
            return jobs.start(api(), name(), called, called.rpartition("-")[0], COMPONENT, define(graph, parameters))

    def wait(self, address: str, tell: Callable[[str], None]) -> ProjectError | None:
        """Wait until the Job has ended, and return what to tell people if it has not succeeded."""
        ended = jobs.wait(api(), name(), address, tell)
        return None if ended.succeeded else jobs.explain_failure(address, ended)


class Pipelines(Jobs):
    """Runs the loop as a run of Kubeflow Pipelines: steps that do not wait for each other run at the same time."""

    def find_attempt(self, inputs: str) -> Attempt:
        """Return the run of these inputs that is under way, or the name of the next one."""
        return Kubeflow.of(api()).find_attempt(f"{name()}-{inputs}")

    def start(self, called: str, graph: Graph, parameters: dict[str, str]) -> str:
        """Start a run, and return its identifier."""
        return Kubeflow.of(api()).start(called, specify(graph, parameters), ACCOUNT)

    def wait(self, address: str, tell: Callable[[str], None]) -> ProjectError | None:
        """Wait until the run has ended, and return what to tell people if it has not succeeded."""
        return Kubeflow.of(api()).wait(address, tell)


def submit(graph: Graph, tell: Callable[[str], None]) -> None:
    """Run the inner loop on the cluster; `shared.loop.submit` tells more."""
    loop.submit(Pipelines() if chosen().pipelines == "kubeflow" else Jobs(), graph, tell)


def specify(graph: Graph, parameters: dict[str, str]) -> dict[str, Any]:
    """Return the specification of a pipeline with a container for each step of the graph, and what is Kubernetes'."""
    job, secret = machines.load().training, settings().image_pull_secret

    def container(step: Step) -> kfp.Container:
        return kfp.Container(
            parameters[loop.IMAGE],
            PROGRAM,
            [parameters[loop.RUN], step.name],
            {**settings().pod_environment, **environment(parameters)},
            cpu=job.cpu,
            memory=job.memory,
            accelerator=machines.GPU,
            accelerators=job.gpus,
        )

    own: dict[str, Any] = {
        "activeDeadlineSeconds": job.seconds,
        "podMetadata": {"labels": pods.labels(COMPONENT)},
        "emptyDirMounts": [{"volumeName": "tmp", "mountPath": "/tmp", "sizeLimit": job.disk}],  # noqa: S108
    }
    if secret:
        own["imagePullSecret"] = [{"secretNameParameter": {"runtimeValue": {"constant": secret}}}]
    executors = {kfp.executor(step): own for step in graph.steps}
    return {
        "pipeline_spec": kfp.compile_graph(f"{name()}-train", graph, container),
        "platform_spec": {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}},
    }


def environment(parameters: dict[str, str]) -> dict[str, str]:
    """Return the variables of every step."""
    return {loop.TRACKING_URI: parameters[loop.TRACKING], lineage.CODE_VERSION: parameters[loop.CODE_VERSION]}


def define(graph: Graph, parameters: dict[str, str]) -> Object:
    """Return the specification of a Job with a container for each step of the graph."""
    job = machines.load().training
    steps = [
        pods.container(
            label(step.name),
            parameters[loop.IMAGE],
            [parameters[loop.RUN], step.name],
            command=PROGRAM,
            environment=environment(parameters),
            resources=job.resources,
            mounts={},
        )
        for step in graph.steps
    ]
    return jobs.template(COMPONENT, ACCOUNT, steps, job)
