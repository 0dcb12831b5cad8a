"""A real API server, etcd and the controllers of Deployments and Jobs on loopback, with a node of processes.

The programs come from a folder that KUBERNETES_BINARIES names: kube-apiserver and kube-controller-manager, as
tests/kubernetes/build.sh builds them. etcd is Debian's.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from twoloops.platforms.kubernetes.api import Api

from tests.support.servers import free_port
from tests.support.tools import DEMANDED

from .issuer import Issuer, issuing
from .kubelet import Node, change_address, serving_logs, take_address

VARIABLE = "KUBERNETES_BINARIES"
PROGRAMS = ("kube-apiserver", "kube-controller-manager")
CONTROLLERS = (
    "deployment,replicaset,job,cronjob,serviceaccount,serviceaccount-token,endpoint,namespace,garbagecollector,"
    "resourcequota,root-ca-cert-publisher,ttl-after-finished"
)
PREFIX = "ci:"  # of who comes with a token of the issuer


@dataclass
class Cluster:
    """A cluster that runs."""

    url: str
    folder: Path
    admin: Api
    node: Node
    issuer: Issuer  # whose tokens for this cluster it takes

    def kubeconfig(self, user: str) -> Path:
        """Return a kubeconfig of one of the users in tokens.csv."""
        path = self.folder / f"kubeconfig-{user}"
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "tls.crt")}
        content = {
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": user, "context": {"cluster": "here", "user": user}}],
            "current-context": user,
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path


def binaries() -> Path:
    """Return the folder of the programs; skip the test, and say so, where it cannot run; CI skips none."""
    folder = Path(os.environ.get(VARIABLE, "/nowhere"))
    missing = [name for name in PROGRAMS if not (folder / name).exists()]
    missing += [name for name in ("etcd", "openssl") if not shutil.which(name)]
    why = f"{', '.join(missing)} are missing: tests/kubernetes/build.sh makes what {VARIABLE} names" if missing else ""
    if not why:
        try:
            change_address("delete", take_address())
        except OSError as error:
            why = str(error)
    if why:
        (pytest.fail if DEMANDED else pytest.skip)(f"a real API server: {why}")
    return folder


@contextmanager
def cluster(folder: Path, image: Path) -> Iterator[Cluster]:
    """Start a cluster, and end it.

    Args:
        folder: for its files.
        image: the folder that every image holds: a project's.
    """
    programs = binaries()
    _make_keys(folder)
    (folder / "tokens.csv").write_text("admin,admin,1,system:masters\n", encoding="utf-8")
    etcd, peer, port, manager, logs = (free_port() for _ in range(5))
    url = f"https://127.0.0.1:{port}"
    with ExitStack() as stack:
        issuer = stack.enter_context(issuing(folder / "tls.crt", folder / "tls.key"))
        commands = [
            [
                "etcd",
                "--data-dir=etcd",
                f"--listen-client-urls=http://127.0.0.1:{etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{peer}",
                "--unsafe-no-fsync",
            ],
            [
                str(programs / "kube-apiserver"),
                f"--etcd-servers=http://127.0.0.1:{etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                "--insecure-port=0",
                "--tls-cert-file=tls.crt",
                "--tls-private-key-file=tls.key",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--authorization-mode=RBAC",
                "--token-auth-file=tokens.csv",
                "--service-account-issuer=https://kubernetes",
                "--service-account-signing-key-file=sa.key",
                "--service-account-key-file=sa.pub",
                "--client-ca-file=ca.crt",
                f"--oidc-issuer-url={issuer.url}",
                f"--oidc-client-id={url}",
                "--oidc-username-claim=sub",
                f"--oidc-username-prefix={PREFIX}",
                "--oidc-ca-file=tls.crt",
                "--endpoint-reconciler-type=none",
                "--disable-admission-plugins=TaintNodesByCondition",
            ],
        ]
        for command in commands:
            stack.enter_context(_running(command, folder))
        context = ssl.create_default_context(cafile=str(folder / "tls.crt"))
        admin = Api(url, lambda again: {"Authorization": "Bearer admin"}, context)
        _wait(admin)
        # It asks the issuer for its keys when it has begun already.
        _wait(Api(url, lambda again: {"Authorization": f"Bearer {issuer.token('anybody', url)}"}, context), "/version")
        node = Node(admin, folder, image, logs, loopback=False)
        found = Cluster(url, folder, admin, node, issuer)
        kubeconfig = f"--kubeconfig={found.kubeconfig('admin')}"
        words = [
            str(programs / "kube-controller-manager"),
            *(kubeconfig, f"--authentication-{kubeconfig[2:]}", f"--authorization-{kubeconfig[2:]}"),
            "--leader-elect=false",
            "--service-account-private-key-file=sa.key",
            "--root-ca-file=ca.crt",
            "--bind-address=127.0.0.1",
            f"--secure-port={manager}",
            "--port=0",
            f"--controllers={CONTROLLERS}",
        ]
        stack.enter_context(_running(words, folder))
        stack.enter_context(serving_logs(node, folder / "tls.crt", folder / "tls.key"))
        node.register()
        stack.callback(node.end)
        threading.Thread(target=node.follow, daemon=True).start()
        yield found


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(asking: Api, path: str = "/readyz", seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if asking.send("GET", path).status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the API server does not answer {path} within {seconds} s")


def _make_keys(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    for words in (
        ["genrsa", "-out", "sa.key", "2048"],
        ["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"],
        [*_certificate("tls"), "-subj", "/CN=localhost", "-addext", names],
        [*_certificate("ca"), "-subj", "/CN=kubernetes"],
    ):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def _certificate(name: str) -> list[str]:
    return [
        "req",
        "-x509",
        *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),  # quick: each request is a connection
        "-nodes",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.crt",
        *["-days", "30"],
    ]
