"""The project's pods: one form for all that runs in the cluster, so that none has more rights than another.

It is what the Pod Security Standard `restricted` demands, and a root file system that is read-only:
https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twoloops.platforms.kubernetes.api import Object
from twoloops.platforms.kubernetes.cluster import name, settings

USER = 10001  # of the image
# Set where a login to the object store has no other way than variables; who can, lets the service account do.
STORE_LOGIN = "object-store"  # the name of a Secret
PART_OF, NAME, COMPONENT, MANAGED_BY = (
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/name",
    "app.kubernetes.io/component",
    "app.kubernetes.io/managed-by",
)


def labels(component: str) -> dict[str, str]:
    """Return the labels of what belongs together: service, training or scoring."""
    return {NAME: name(), COMPONENT: component, MANAGED_BY: "twoloops"}


def container(
    called: str,
    image: str,
    arguments: Sequence[str],
    *,
    command: Sequence[str] = (),
    environment: Mapping[str, str],
    resources: Mapping[str, Any],
    mounts: Mapping[str, str],
    **more: Any,
) -> Object:
    """Return a container.

    Args:
        called: its name.
        image: by its digest.
        arguments: of the command.
        command: in place of the image's own.
        environment: nothing secret, for all who may look at the pod read it.
        resources: requests and limits.
        mounts: paths by the volumes' names; a volume whose name begins with `fixed-` is read-only.
        more: further fields.
    """
    everywhere = settings().pod_environment
    made: Object = {
        "name": called,
        "image": image,
        "args": list(arguments),
        "env": [{"name": key, "value": value} for key, value in {**everywhere, **environment}.items()],
        "envFrom": [{"secretRef": {"name": STORE_LOGIN, "optional": True}}],
        "resources": dict(resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": volume, "mountPath": path, **({"readOnly": True} if volume.startswith("fixed-") else {})}
            for volume, path in {**mounts, "tmp": "/tmp"}.items()  # noqa: S108 - a volume of the pod's own
        ],
        **more,
    }
    return made | ({"command": list(command)} if command else {})


def spec(
    account: str, containers: Sequence[Object], volumes: Sequence[Object], *, space: str | None = None, **more: Any
) -> Object:
    """Return the specification of a pod.

    Args:
        account: the service account; the pod gets no token of it.
        containers: from `container`.
        volumes: beside /tmp.
        space: of /tmp, for which the node must have room.
        more: further fields.
    """
    secret = settings().image_pull_secret
    return {
        "serviceAccountName": account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": list(containers),
        "volumes": [*volumes, {"name": "tmp", "emptyDir": {"sizeLimit": space} if space else {}}],
        **({"imagePullSecrets": [{"name": secret}]} if secret else {}),
        **more,
    }
