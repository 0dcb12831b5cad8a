"""Stages and jobs: their order, conditions and variables, environments and their approval, outputs between them.

Sources: https://learn.microsoft.com/azure/devops/pipelines/process/stages, …/process/phases,
…/process/deployment-jobs, …/process/approvals and …/process/variables
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .agent import Job, Records, RunError, Source, StepResult, Task
from .expressions import Context, evaluate, to_boolean, to_string
from .variables import Variables

HOSTED_IMAGES = {"ubuntu-24.04", "ubuntu-22.04", "ubuntu-latest"}
HOOKS = ("preDeploy", "deploy", "routeTraffic", "postRouteTraffic")
GOOD = ("Succeeded", "SucceededWithIssues")
_RUNTIME = re.compile(r"\s*\$\[(.*)\]\s*", re.DOTALL)
_STAGE_KEYS = {"stage", "displayName", "dependsOn", "condition", "variables", "jobs", "lockBehavior", "pool"}
_JOB_KEYS = {
    "job", "deployment", "displayName", "dependsOn", "condition", "variables", "steps", "pool", "timeoutInMinutes",
    "cancelTimeoutInMinutes", "continueOnError", "environment", "strategy", "workspace",
}  # fmt: skip


@dataclass
class Server:
    """What lies on the server and on its agents, and outlives a run."""

    work: Path
    environment: Mapping[str, str]  # of the machines that jobs run on
    tasks: Mapping[str, Task]
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # variable groups
    secrets: frozenset[str] = frozenset()  # names of the variables, in groups or not, that are secret
    pools: frozenset[str] = frozenset()  # of one's own
    # Is a stage that uses this environment, or this service connection, let pass?
    approve: Callable[[str], bool] = lambda resource: True
    # Where a job of a pipeline that uses these service connections asks for their tokens.
    tokens: Callable[[str, list[str]], str] = lambda pipeline, connections: ""
    cancel: Callable[[str], bool] = lambda step: False  # is the run cancelled once this step is done?


@dataclass
class JobRun:
    """What became of a job."""

    result: str
    steps: list[StepResult] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    pool: str = ""


@dataclass
class StageRun:
    """What became of a stage."""

    result: str
    jobs: dict[str, JobRun] = field(default_factory=dict)


@dataclass
class Run:
    """What became of a run."""

    records: Records
    stages: dict[str, StageRun] = field(default_factory=dict)
    deployments: list[str] = field(default_factory=list)  # environments in whose history the run stands
    result: str = "succeeded"

    def log(self) -> str:
        """Return the log of all steps."""
        return "\n".join(
            f"== {stage} / {job} / {step.name}: {step.result}\n{step.log}"
            for stage, of in self.stages.items()
            for job, run in of.jobs.items()
            for step in run.steps
        )

    def results(self) -> dict[str, str]:
        """Return the results of stages and, as stage/job, of jobs."""
        found = {}
        for name, stage in self.stages.items():
            found[name] = stage.result
            found |= {f"{name}/{job}": run.result for job, run in stage.jobs.items()}
        return found


def names(value: Any) -> list[str]:
    """Return the names in a dependsOn, which is a name or a list of names; the empty text is none."""
    return [value] if isinstance(value, str) and value else list(value or [])


def ordered(items: Iterable[tuple[str, list[str]]]) -> list[str]:
    """Return names so that each comes after what it depends on, else as they stand in the file.

    Raises:
        RunError: a name is unknown or occurs twice, or the dependencies go in a circle.
    """
    waiting = list(items)
    known = [name for name, _ in waiting]
    if len(known) != len(set(known)):
        raise RunError(f"names are not unique: {known}")
    for name, needs in waiting:
        if unknown := set(needs) - set(known):
            raise RunError(f"{name} depends on unknown {min(unknown)}")
    order: list[str] = []
    while waiting:
        ready = next(((name, needs) for name, needs in waiting if set(needs) <= set(order)), None)
        if ready is None:
            raise RunError(f"dependencies go in a circle: {[name for name, _ in waiting]}")
        order.append(ready[0])
        waiting.remove(ready)
    return order


def status_functions(
    needs: Mapping[str, list[str]], name: str, results: Mapping[str, str], canceled: bool
) -> dict[str, Callable[..., bool]]:
    """Return succeeded() and its kin for a stage or a job.

    Args:
        needs: direct dependencies by name.
        name: of the stage or job whose condition is asked.
        results: of what is done.
        canceled: is the run cancelled?
    """
    before: list[str] = []
    front = list(needs[name])
    while front:  # indirect dependencies count too
        before.append(front.pop())
        front += [each for each in needs[before[-1]] if each not in before]

    def of(chosen: tuple[str, ...]) -> list[str]:
        return [results[each] for each in chosen or before]

    return {
        "always": lambda: True,
        "canceled": lambda: canceled,
        "failed": lambda *chosen: "Failed" in of(chosen) and not canceled,
        "succeeded": lambda *chosen: all(result in GOOD for result in of(chosen)) and not canceled,
        "succeededOrFailed": lambda *chosen: (
            not canceled and (not chosen or any(result in (*GOOD, "Failed") for result in of(chosen)))
        ),
    }


class Execution:
    """One run of an expanded pipeline."""

    def __init__(self, document: Mapping[str, Any], server: Server, source: Source, predefined: Mapping[str, str]):
        self._document, self._server, self._source = document, server, source
        self._folder = server.work / f"run-{len(list(server.work.glob('run-*'))) + 1}"
        records = Records(self._folder / "artifacts", server.work / "caches")
        for folder in (records.artifacts, records.caches):
            folder.mkdir(parents=True, exist_ok=True)
        self.run = Run(records)
        self._canceled = False
        self._root = Variables(predefined, ["System.AccessToken"])
        self._declare(document.get("variables", []), self._root, {})

    def go(self) -> Run:
        """Run all stages and return what became of them."""
        stages = {stage["stage"]: stage for stage in self._document["stages"]}
        needs: dict[str, list[str]] = {}
        previous: list[str] = []
        for stage in self._document["stages"]:
            _known(stage, _STAGE_KEYS)
            # Without dependsOn a stage comes after the one that stands before it.
            needs[stage["stage"]] = names(stage["dependsOn"]) if "dependsOn" in stage else previous
            previous = [stage["stage"]]
        if len(stages) != len(self._document["stages"]):
            raise RunError("two stages have the same name")
        for name in ordered(needs.items()):
            self.run.stages[name] = self._stage(stages[name], needs)
        self.run.result = _overall([stage.result for stage in self.run.stages.values()], self._canceled)
        return self.run

    # ----------------------------------------------------------------------------------- stages

    def _stage(self, stage: Mapping[str, Any], needs: Mapping[str, list[str]]) -> StageRun:
        name = stage["stage"]
        done = self.run.stages
        results = {each: run.result for each, run in done.items()}
        dependencies = {
            each: {
                "result": done[each].result,
                "outputs": {
                    f"{job}.{key}": value for job, of in done[each].jobs.items() for key, value in of.outputs.items()
                },
            }
            for each in needs[name]
        }
        functions = status_functions(needs, name, results, self._canceled)
        if not self._wanted(stage.get("condition"), self._root, {"dependencies": dependencies}, functions):
            return StageRun("Skipped")
        # Only stages that are named in dependsOn can be asked for outputs.
        expressions = {
            "stageDependencies": {
                each: {job: {"result": of.result, "outputs": of.outputs} for job, of in done[each].jobs.items()}
                for each in needs[name]
            }
        }
        resources = [_environment(job) for job in stage["jobs"] if "deployment" in job]
        resources += [name for job in stage["jobs"] for name in _connections(job)]
        # Every check is asked before anything of the stage runs.
        if not min(map(self._server.approve, resources), default=True):
            return StageRun("Failed")
        variables = self._root.copy()
        self._declare(stage.get("variables", []), variables, expressions)
        return self._jobs(stage, variables, expressions)

    def _jobs(self, stage: Mapping[str, Any], variables: Variables, expressions: Mapping[str, Any]) -> StageRun:
        jobs = {job.get("job") or job["deployment"]: job for job in stage["jobs"]}
        if len(jobs) != len(stage["jobs"]):
            raise RunError(f"two jobs of stage {stage['stage']} have the same name")
        needs = {name: names(job.get("dependsOn")) for name, job in jobs.items()}
        run = StageRun("Succeeded")
        for name in ordered(needs.items()):
            run.jobs[name] = self._job(name, jobs[name], stage, needs, run, variables, expressions)
        results = [job.result for job in run.jobs.values()]
        order = ["Skipped", "Succeeded", "SucceededWithIssues", "Canceled", "Failed"]
        run.result = max(results, key=order.index)
        return run

    # ------------------------------------------------------------------------------------- jobs

    def _job(
        self, name: str, job: Mapping[str, Any], stage: Mapping[str, Any], needs: Mapping[str, list[str]],
        of: StageRun, outer: Variables, expressions: Mapping[str, Any],
    ) -> JobRun:  # fmt: skip
        _known(job, _JOB_KEYS)
        results = {each: run.result for each, run in of.jobs.items()}
        known = {
            **expressions,
            "dependencies": {
                each: {"result": of.jobs[each].result, "outputs": of.jobs[each].outputs} for each in needs[name]
            },
        }
        functions = status_functions(needs, name, results, self._canceled)
        if not self._wanted(job.get("condition"), outer, known, functions):
            return JobRun("Skipped")
        variables = outer.copy()
        self._declare(job.get("variables", []), variables, known)
        pool = job.get("pool") or stage.get("pool") or self._document.get("pool") or {"vmImage": "ubuntu-latest"}
        run = JobRun("Succeeded", pool=self._pool(pool))
        for label, value in (("System.StageName", stage["stage"]), ("System.JobName", name), ("Agent.OS", "Linux")):
            variables.set(label, value)
        address = self._server.tokens(self._root.get("Build.DefinitionName"), _connections(job))
        variables.set("System.OidcRequestUri", address)
        if "deployment" in job:
            self._deploy(name, job, run, variables, known)
        else:
            self._on_agent(run, self._steps(job["steps"], "self"), variables, known, prefix="")
        if run.result == "Failed" and str(job.get("continueOnError", "")).lower() == "true":
            run.result = "SucceededWithIssues"
        return run

    def _deploy(
        self, name: str, job: Mapping[str, Any], run: JobRun, variables: Variables, known: Mapping[str, Any]
    ) -> None:
        strategy = job["strategy"]
        if set(strategy) != {"runOnce"}:
            raise RunError(f"this runner knows runOnce, not {', '.join(strategy)}")
        hooks = strategy["runOnce"]
        _known(hooks, {*HOOKS, "on"})
        self.run.deployments.append(_environment(job))
        variables.set("Environment.Name", _environment(job))
        for hook in HOOKS:
            if hook not in hooks or run.result not in GOOD:
                continue
            steps = self._steps(hooks[hook]["steps"], "none")
            # The hook `deploy` alone gets the run's artifacts unasked.
            if hook == "deploy" and not any("download" in step for step in steps):
                steps = [{"download": "current"}, *steps]
            self._on_agent(run, steps, variables, known, prefix=f"{name}.")
        ending = hooks.get("on", {}).get("success" if run.result in GOOD else "failure")
        if ending:
            self._on_agent(run, self._steps(ending["steps"], "none"), variables, known, prefix=f"{name}.")

    @staticmethod
    def _steps(steps: list[dict[str, Any]], checkout: str) -> list[dict[str, Any]]:
        """Return the steps with the checkout that is meant where none is written: only a job has one."""
        if checkout == "none" or any("checkout" in step for step in steps):
            return steps
        return [{"checkout": checkout}, *steps]

    def _on_agent(
        self, run: JobRun, steps: list[dict[str, Any]], variables: Variables, known: Mapping[str, Any], prefix: str
    ) -> None:
        hosted = run.pool in HOSTED_IMAGES
        # A hosted machine is new for each job, with the same paths; one's own keeps a pipeline's folder.
        lent = self._server.work / "lent"
        kept = self._server.work / run.pool / re.sub(r"\W", "-", self._root.get("Build.DefinitionName"))
        if hosted:
            shutil.rmtree(lent, ignore_errors=True)
        job = Job(
            steps, variables, lent if hosted else kept, self._source, self._server.environment, self._server.tasks,
            self.run.records, hosted, known, lambda: self._canceled, self._after,
        )  # fmt: skip
        job.run()
        run.steps += job.done
        run.outputs |= {f"{prefix}{key}": value for key, value in job.outputs.items()}
        run.result = max(run.result, job.status, key=["Succeeded", "SucceededWithIssues", "Canceled", "Failed"].index)

    def _after(self, step: str) -> None:
        self._canceled = self._canceled or self._server.cancel(step)

    def _pool(self, pool: Any) -> str:
        """Return the pool's name or the hosted image; only variables of the root may name it."""
        if isinstance(pool, str):
            pool = {"name": pool}
        _known(pool, {"name", "vmImage", "demands"})
        chosen = self._root.expand(pool.get("vmImage") or pool.get("name", ""))
        if chosen not in (HOSTED_IMAGES if "vmImage" in pool else self._server.pools):
            raise RunError(f"Could not find a pool with name {chosen}")
        return chosen

    # -------------------------------------------------------------------------------- variables

    def _declare(self, declared: Any, variables: Variables, expressions: Mapping[str, Any]) -> None:
        """Set variables of a scope; `$[ ]` is evaluated now, and must be the whole value."""
        for item in declared:
            if "group" in item:
                if item["group"] not in self._server.groups:
                    raise RunError(f"Variable group {item['group']} could not be found")
                for name, value in self._server.groups[item["group"]].items():
                    variables.set(name, value, secret=name in self._server.secrets)
                continue
            value = to_string(item.get("value", ""))
            if runtime := _RUNTIME.fullmatch(value):
                value = to_string(evaluate(runtime[1], Context({"variables": variables.all(), **expressions})))
            variables.set(item["name"], value)

    def _wanted(
        self, condition: Any, variables: Variables, known: Mapping[str, Any], functions: Mapping[str, Any]
    ) -> bool:
        text = to_string(condition) or "succeeded()"
        return to_boolean(evaluate(text, Context({"variables": variables.all(), **known}, functions)))


def _environment(job: Mapping[str, Any]) -> str:
    environment = job["environment"]
    return str(environment["name"] if isinstance(environment, Mapping) else environment).split(".")[0]


def _connections(job: Mapping[str, Any]) -> list[str]:
    """Return the service connections that a job uses, whether the step that names one is run or not."""
    hooks = job.get("strategy", {}).get("runOnce", {})
    steps = [step for each in (job, *hooks.values()) for step in each.get("steps", [])]
    return [step["inputs"]["serviceEndpoint"] for step in steps if "serviceEndpoint" in (step.get("inputs") or {})]


def _known(item: Mapping[str, Any], keys: set[str]) -> None:
    if unknown := set(item) - keys:
        raise RunError(f"unexpected '{min(unknown)}' in {next(iter(item.values()))!r}")


def _overall(results: list[str], canceled: bool) -> str:
    if "Failed" in results:
        return "failed"
    if canceled:
        return "canceled"
    return "partiallySucceeded" if "SucceededWithIssues" in results else "succeeded"
