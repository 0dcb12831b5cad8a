"""What keeps a service's pods: a Deployment of our own, or KServe's InferenceService with the very same pod.

Either way an environment's deployment.json is an immutable ConfigMap that the pod's template names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from twoloops.platforms.kubernetes import cluster, pods
from twoloops.platforms.kubernetes.api import MANAGER, Api, Object, namespaced
from twoloops.platforms.kubernetes.cluster import home, name
from twoloops.platforms.kubernetes.machines import Service

CONFIGURATION: Final = "twoloops/deployment"  # the annotation of a pod that names its ConfigMap
COMPONENT: Final = "service"
ACCOUNT: Final = "serving"  # the service account, which infra/bootstrap makes
FILE: Final = "deployment.json"
PORT: Final = 8080
PROGRESS_SECONDS: Final = 300  # in which a new pod has to come up
START_SECONDS: Final = 240  # in which it has to answer, once its container runs
LEAVE_SECONDS: Final = 45  # in which a pod answers what it has begun
FOLDER: Final = "/deployments"
# Who changes a workload beside deployments and does well: the cluster's own parts.
OWN_MANAGERS = ("kube-", "kserve", "manager")


def template(environment: str, configuration: str, image: str, size: Service) -> Object:
    """Return the template of a service's pods.

    Args:
        environment: one of the project's.
        configuration: the name of the ConfigMap.
        image: by its digest.
        size: what a pod gets.
    """
    models = f"{FOLDER}/models"
    mounts = {"fixed-deployment": f"{FOLDER}/{environment}", "models": models}
    fetch = pods.container(
        "fetch",
        image,
        [home(), f"{FOLDER}/{environment}/{FILE}", models],
        command=["python", "-m", "twoloops.platforms.kubernetes.fetch"],
        environment={},
        resources={"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
        mounts=mounts,
    )
    serve = pods.container(
        "serve",
        image,
        ["serve", f"{FOLDER}/{environment}", "--port", str(PORT)],
        environment={"SERVE_CAPTURES": f"{home()}/captures/{environment}"},
        resources=size.resources,
        mounts={**mounts, "captures": "/app/data/captures"},
        ports=[{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        startupProbe={**_probe("/health/ready"), "periodSeconds": 2, "failureThreshold": START_SECONDS // 2},
        readinessProbe={**_probe("/health/ready"), "periodSeconds": 2},
        livenessProbe={**_probe("/health/live"), "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
    )
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": pods.labels(COMPONENT)},
    }
    return {
        "metadata": {"labels": pods.labels(COMPONENT), "annotations": {CONFIGURATION: configuration}},
        "spec": pods.spec(
            ACCOUNT,
            [serve],
            [
                {"name": "fixed-deployment", "configMap": {"name": configuration}},
                {"name": "models", "emptyDir": {}},
                {"name": "captures", "emptyDir": {}},
            ],
            initContainers=[fetch],
            terminationGracePeriodSeconds=LEAVE_SECONDS,
            topologySpreadConstraints=[spread],
        ),
    }


def _probe(path: str) -> Object:
    return {"httpGet": {"path": path, "port": PORT}, "timeoutSeconds": 2}


def changed_by_hand(found: Object) -> str | None:
    """Say in words who has changed the pods' template beside deployments, or None.

    Args:
        found: a Deployment, which says of each field whose it is.
    """
    for entry in found["metadata"].get("managedFields", []):
        changed = entry.get("fieldsV1", {}).get("f:spec", {}).get("f:template")
        who = entry.get("manager", "")
        if changed and who != MANAGER and not who.startswith(OWN_MANAGERS):
            return f"somebody has changed it by hand with {who}, at {entry.get('time')}"
    return None


class Workload(ABC):
    """What keeps the pods."""

    kind: str
    group: str
    plural: str

    @property
    @abstractmethod
    def deployment(self) -> str:
        """The name of the Deployment whose pods answer."""

    @property
    @abstractmethod
    def service(self) -> str:
        """The name of the Service before them."""

    def path(self, namespace: str) -> str:
        """Return where it lies."""
        return namespaced(self.group, self.plural, namespace, name())

    @abstractmethod
    def configuration(self, found: Object) -> str | None:
        """Return which ConfigMap it was told to run."""

    @abstractmethod
    def apply(self, api: Api, namespace: str, template: Object, size: Service, keep_count: bool) -> None:
        """Let pods of a template run; with `keep_count` as many as run now."""

    @abstractmethod
    def stop(self, api: Api, namespace: str) -> None:
        """Let no pod run."""

    def restore(self, api: Api, namespace: str, before: Object) -> None:
        """Let it be again what it was."""
        spec = dict(before["spec"])
        if spec.get("replicas"):
            spec.pop("replicas")  # an autoscaler may have changed it meanwhile
        api.apply(self.path(namespace), {**self._head(namespace), "spec": spec})

    def delete(self, api: Api, namespace: str) -> None:
        """Delete it."""
        api.delete(self.path(namespace))

    def _head(self, namespace: str) -> Object:
        labels = pods.labels(COMPONENT)
        metadata = {"name": name(), "namespace": namespace, "labels": labels}
        return {"apiVersion": self.group, "kind": self.kind, "metadata": metadata}


class Deployments(Workload):
    """A Deployment and a Service of our own."""

    kind, group, plural = "Deployment", "apps/v1", "deployments"

    @property
    def deployment(self) -> str:
        """The project's name."""
        return name()

    @property
    def service(self) -> str:
        """The project's name."""
        return name()

    def configuration(self, found: Object) -> str | None:
        """Return which ConfigMap its pods have."""
        configured: str | None = found["spec"]["template"]["metadata"].get("annotations", {}).get(CONFIGURATION)
        return configured

    def apply(self, api: Api, namespace: str, template: Object, size: Service, keep_count: bool) -> None:
        """Make or change the Deployment, and the Service where there is none."""
        labels = pods.labels(COMPONENT)
        api.apply(
            namespaced("v1", "services", namespace, name()),
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name(), "namespace": namespace, "labels": labels},
                "spec": {
                    "selector": labels,
                    "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": PORT}],
                },
            },
        )
        surge = {"maxUnavailable": 0, "maxSurge": "100%"} if size.surge else {"maxUnavailable": 1, "maxSurge": 0}
        spec: dict[str, Any] = {
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": surge},
            "progressDeadlineSeconds": PROGRESS_SECONDS,
            "revisionHistoryLimit": 3,
            "template": template,
        }
        live = api.find(self.path(namespace))
        if not keep_count:
            spec["replicas"] = size.least
        if live and changed_by_hand(live):
            # What others have added stays where fields are applied, and goes where the whole is replaced.
            head = self._head(namespace)
            head["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
            whole = {"replicas": live["spec"]["replicas"], **spec}
            api.call("PUT", f"{self.path(namespace)}?fieldManager={MANAGER}", {**head, "spec": whole})
        api.apply(self.path(namespace), {**self._head(namespace), "spec": spec})

    def stop(self, api: Api, namespace: str) -> None:
        """Let there be no pods; an autoscaler leaves that so."""
        api.merge(self.path(namespace), {"spec": {"replicas": 0}})

    def delete(self, api: Api, namespace: str) -> None:
        """Delete both."""
        super().delete(api, namespace)
        api.delete(namespaced("v1", "services", namespace, name()))


class InferenceServices(Workload):
    """KServe's InferenceService in Standard mode, which makes the Deployment, the Service, the way in and the scaling.

    Its own canaries are not used: canaryTrafficPercent is ignored in Standard mode, in silence
    (https://github.com/kserve/kserve/issues/5335).
    """

    kind, group, plural = "InferenceService", "serving.kserve.io/v1beta1", "inferenceservices"
    STOP: Final = "serving.kserve.io/stop"

    @property
    def deployment(self) -> str:
        """As KServe's controller calls it."""
        return f"{name()}-predictor"

    @property
    def service(self) -> str:
        """As KServe's controller calls it."""
        return f"{name()}-predictor"

    def configuration(self, found: Object) -> str | None:
        """Return which ConfigMap its pods are to have."""
        configured: str | None = found["spec"]["predictor"].get("annotations", {}).get(CONFIGURATION)
        return configured

    def apply(self, api: Api, namespace: str, template: Object, size: Service, keep_count: bool) -> None:
        """Make or change the InferenceService; how many pods there are is KServe's autoscaler's business."""
        pod = dict(template["spec"])
        containers = [{**each, "name": "kserve-container"} for each in pod.pop("containers")]
        surge = {"maxUnavailable": 0, "maxSurge": "100%"} if size.surge else {"maxUnavailable": 1, "maxSurge": 0}
        for each in containers:
            named = {"PROTOCOL": "v2", "SERVE_MODEL_NAME": name()}  # clients ask for the model by the service's name
            each["env"] = [*each["env"], *({"name": key, "value": value} for key, value in named.items())]
        head = self._head(namespace)
        head["metadata"]["annotations"] = {
            "serving.kserve.io/deploymentMode": "Standard",
            "serving.kserve.io/autoscalerClass": "hpa" if size.scales else "none",
            self.STOP: "false",
        }
        predictor = {
            **template["metadata"],
            **pod,
            "containers": containers,
            "minReplicas": size.least,
            "maxReplicas": size.most,
            "scaleMetric": "cpu",
            "scaleTarget": size.cpu_percent,
            "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": surge},
        }
        api.apply(self.path(namespace), {**head, "spec": {"predictor": predictor}})

    def stop(self, api: Api, namespace: str) -> None:
        """Let KServe end the pods."""
        api.merge(self.path(namespace), {"metadata": {"annotations": {self.STOP: "true"}}})

    def restore(self, api: Api, namespace: str, before: Object) -> None:
        """Let it be again what it was."""
        head = self._head(namespace)
        head["metadata"]["annotations"] = before["metadata"].get("annotations", {})
        api.apply(self.path(namespace), {**head, "spec": before["spec"]})


def chosen() -> Workload:
    """Return what the project chose."""
    return InferenceServices() if cluster.chosen().serving_platform == "kserve" else Deployments()
