"""What every pod is: as the Pod Security Standard `restricted` demands, with what a cluster of today knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from twoloops.contracts.graph import Graph, Step
from twoloops.platforms.kubernetes import loop, machines, workloads
from twoloops.platforms.shared.loop import PARAMETERS

from tests.support.kubernetes import subject as own
from tests.support.kubernetes.server import VERSION, StandIn

IMAGE = f"registry.example.com/churn@sha256:{'0' * 64}"


def templates() -> dict[str, dict[str, Any]]:
    """Return the templates of a service's pods and of a training's."""
    graph = Graph((Step("prepare", ("churn prepare",)), Step("train", ("churn train",))))
    size = machines.load().serving["production"]
    return {
        "service": workloads.template("production", "churn-0123", IMAGE, size),
        "training": loop.define(graph, dict.fromkeys(PARAMETERS, "value"))["template"],
    }


@pytest.mark.parametrize("kind", ["service", "training"])
def test_pods_are_restricted(project: Path, kind: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and more."""
    spec = templates()[kind]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert all(set(each) - {"name"} <= {"configMap", "emptyDir"} for each in spec["volumes"])
    for each in (*spec.get("initContainers", []), *spec["containers"]):
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert each["securityContext"]["readOnlyRootFilesystem"] is True
        assert "memory" in each["resources"]["limits"], "a quota refuses a pod without"
        assert {"cpu", "memory"} <= each["resources"]["requests"].keys()


@pytest.mark.parametrize("kind", ["service", "training"])
def test_a_misspelt_field_would_be_seen(project: Path, kind: str) -> None:
    template = templates()[kind]
    metadata = {"name": "pod", **template["metadata"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    kubernetes_validate.validate(pod, VERSION, strict=True)
    pod["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSION, strict=True)


def test_settings_reach_every_pod(project: Path, running: StandIn) -> None:
    own.settle(running.admin, {"AWS_ENDPOINT_URL": "https://store"}, image_pull_secret="registry")
    for each in templates().values():
        assert each["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        for container in (*each["spec"]["initContainers"], *each["spec"]["containers"]):
            assert {"name": "AWS_ENDPOINT_URL", "value": "https://store"} in container["env"]


def test_scarce_accelerators(project: Path, running: StandIn) -> None:
    size = machines.Service(cpu="1", memory="1Gi", gpus=1, least=1, most=1, surge=False)
    workload = workloads.Deployments()
    template = workloads.template("staging", "churn-0123", IMAGE, size)
    workload.apply(running.admin, own.SPACES["staging"], template, size, keep_count=False)
    (found,) = running.store.list("deployments")
    assert found["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    resources = found["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    workload.delete(running.admin, own.SPACES["staging"])


def test_an_autoscalers_number_stays(project: Path, running: StandIn) -> None:
    size = machines.Service(cpu="1", memory="1Gi", least=1, most=4)
    workload, space = workloads.Deployments(), own.SPACES["staging"]
    running.node.no_image.add(IMAGE)
    for name, keep in (("churn-1", False), ("churn-2", True)):
        template = workloads.template("staging", name, IMAGE, size)
        workload.apply(running.admin, space, template, size, keep_count=keep)
        (found,) = running.store.list("deployments")
        assert found["spec"]["replicas"] == (3 if keep else 1)
        running.admin.merge(workload.path(space), {"spec": {"replicas": 3}})
    workload.delete(running.admin, space)


def test_kserve_gets_the_very_same_pod(project: Path, running: StandIn) -> None:
    size = machines.load().serving["production"]
    template = workloads.template("production", "churn-0123", IMAGE, size)
    workload, space = workloads.InferenceServices(), own.SPACES["production"]
    workload.apply(running.admin, space, template, size, keep_count=False)
    (found,) = running.store.list("inferenceservices")
    predictor = found["spec"]["predictor"]
    (container,) = predictor["containers"]
    (ours,) = template["spec"]["containers"]
    assert container["name"] == "kserve-container"
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    assert {"name": "SERVE_MODEL_NAME", "value": "churn"} in container["env"], "by which clients ask"
    assert container["readinessProbe"] == ours["readinessProbe"], "KServe's own would be a TCP probe"
    assert predictor["initContainers"] == template["spec"]["initContainers"]
    assert predictor["annotations"] == template["metadata"]["annotations"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 2)
    assert "canaryTrafficPercent" not in predictor
    assert found["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert workload.configuration(found) == "churn-0123"
    workload.stop(running.admin, space)
    (found,) = running.store.list("inferenceservices")
    assert found["metadata"]["annotations"]["serving.kserve.io/stop"] == "true"
    workload.delete(running.admin, space)
