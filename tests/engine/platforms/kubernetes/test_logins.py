"""Who asks the cluster and the registry, and what is said when it is nobody, or the wrong one."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from twoloops.contracts.platform import Login
from twoloops.errors import ProjectError
from twoloops.platforms import kubernetes
from twoloops.platforms.kubernetes import cluster, images, kubeconfig, machines
from twoloops.platforms.kubernetes.terraform import KubernetesInfrastructure
from twoloops.platforms.shared.images import tag

from tests.engine.support.configuration import configure
from tests.support.kubernetes import stores
from tests.support.kubernetes import subject as own
from tests.support.kubernetes.server import StandIn

HERE, THERE = "https://cluster.example.com", "https://other.example.com:6443"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return a function that writes a kubeconfig with users by context, and makes it the one that is read."""

    def make(name: str = "config", current: str | None = None, **contexts: tuple[str, dict[str, Any]]) -> Path:
        path = tmp_path / name
        content = {
            "clusters": [{"name": key, "cluster": {"server": server}} for key, (server, _) in contexts.items()],
            "users": [{"name": key, "user": user} for key, (_, user) in contexts.items()],
            "contexts": [{"name": key, "context": {"cluster": key, "user": key}} for key in contexts],
            "current-context": current,
        }
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        monkeypatch.setenv("KUBECONFIG", str(path))
        return path

    return make


def bearer(server: str = HERE) -> str:
    return kubeconfig.load(server).headers(False).get("Authorization", "nobody")


def test_the_context_of_the_projects_cluster_is_taken_whatever_the_current_one_is(write: Write) -> None:
    write(current="there", there=(THERE, {"token": "theirs"}), here=(f"{HERE}:443/", {"token": "ours"}))
    assert bearer() == "Bearer ours"
    assert kubeconfig.load(HERE).url == HERE, "the token goes where the project says"
    write(current="b", a=(HERE, {"token": "first"}), b=(HERE, {"token": "current"}))
    assert bearer() == "Bearer current"


def test_another_cluster_alone_is_refused(write: Write) -> None:
    write(current="there", there=(THERE, {"token": "theirs"}))
    with pytest.raises(ProjectError, match=r"No context .* is of this project's cluster.* It has: there") as refused:
        kubeconfig.load(HERE)
    assert "kubernetes_cluster" in refused.value.hint


def test_nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ProjectError, match="Nobody is logged in"):
        kubeconfig.load(HERE)


def test_the_first_of_two_files_counts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [write("one", "here", here=(HERE, {"token": "one"})), write("two", "here", here=(HERE, {"token": "two"}))]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    assert bearer() == "Bearer one"


def test_a_token_in_a_file_is_read_each_time(write: Write, tmp_path: Path) -> None:
    write(here=(HERE, {"tokenFile": "token"}))
    api = kubeconfig.load(HERE)
    for token in ("first", "second"):
        (tmp_path / "token").write_text(f"{token}\n", encoding="utf-8")
        assert api.headers(False) == {"Authorization": f"Bearer {token}"}


def test_a_clouds_program_is_asked_once_and_again_when_it_is_refused(write: Write, tmp_path: Path) -> None:
    program = (
        "import json, os, pathlib; said = json.loads(os.environ['KUBERNETES_EXEC_INFO']); "
        "assert said['kind'] == 'ExecCredential' and os.environ['WHO'] == 'me'; "
        "path = pathlib.Path('asked'); count = len(path.read_text()) + 1 if path.exists() else 1; "
        "path.write_text('x' * count); print(json.dumps({'status': {'token': f'token-{count}'}}))"
    )
    described = {"command": sys.executable, "args": ["-c", program], "env": [{"name": "WHO", "value": "me"}]}
    os.chdir(tmp_path)
    write(here=(HERE, {"exec": {"apiVersion": "client.authentication.k8s.io/v1", **described}}))
    headers = kubeconfig.load(HERE).headers
    assert headers(False) == headers(False) == {"Authorization": "Bearer token-1"}
    assert headers(True) == headers(False) == {"Authorization": "Bearer token-2"}


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"command": "no-such-program", "installHint": "Fetch it."}, "no-such-program, which is not installed"),
        ({"command": sys.executable, "args": ["-c", "raise SystemExit('log in first')"]}, "log in first"),
        ({"command": sys.executable, "args": ["-c", "print('no JSON')"]}, "gives no token"),
    ],
)
def test_a_program_that_gives_no_token(write: Write, described: dict[str, Any], said: str) -> None:
    write(here=(HERE, {"exec": described}))
    with pytest.raises(ProjectError, match=said) as refused:
        kubeconfig.load(HERE).headers(False)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"auth-provider": {"name": "gcp"}}, "auth-provider, which clusters have given up"),
        ({"username": "me", "password": "secret"}, "username, which clusters have given up"),
        ({"client-certificate": "nowhere.pem"}, "No such file"),
    ],
)
def test_a_login_that_cannot_be_used(write: Write, user: dict[str, Any], said: str) -> None:
    write(here=(HERE, user))
    with pytest.raises(ProjectError, match=said):
        kubeconfig.load(HERE)


def test_a_login_is_not_sent_to_whoever_answers(write: Write) -> None:
    path = write(here=(HERE, {"token": "ours"}))
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ProjectError, match="insecure-skip-tls-verify"):
        kubeconfig.load(HERE)


@pytest.mark.parametrize("text", ["- a list", "contexts: [{}]", "{", "users: 3"])
def test_what_is_no_kubeconfig(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").write_text(text, encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(ProjectError, match="is not a kubeconfig"):
        kubeconfig.load(HERE)


# ------------------------------------------------------------------ a flow's job


ROLE = {"CLOUD_ROLE_DEPLOY_STAGING": "churn-staging/serving"}


def test_a_job_exchanges_its_token(tmp_path: Path, project: Path, running: StandIn) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    for seconds in (900, 60):  # again: an earlier login is replaced
        found = kubernetes.log_in(Login("deploy-staging", "admin", ROLE, "run", seconds, folder))
        assert found == {"KUBECONFIG": str(folder / "kubeconfig"), "KUBE_CONFIG_PATHS": str(folder / "kubeconfig")}
        token = (folder / "cluster-token").read_text(encoding="utf-8")
        assert token == f"churn-staging/serving for {max(seconds, 600)} s"
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert "admin" not in path.read_text(encoding="utf-8"), "a job's own token is kept nowhere"
    assert "for 600 s" not in (folder / "kubeconfig").read_text(encoding="utf-8"), "the token is in a file of its own"
    assert kubernetes.audience("deploy-staging") == running.url


def test_terraform_has_the_login_of_the_verbs(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(current="there", there=(THERE, {"token": "theirs"}), here=(HERE, {"token": "ours"}))
    configure(tmp_path, **own.table(HERE, "registry.example.com/churn"))
    monkeypatch.chdir(tmp_path)
    assert KubernetesInfrastructure().login_variables() == {"KUBE_CONFIG_PATHS": str(path), "KUBE_CTX": "here"}


def test_a_job_that_the_cluster_does_not_know(tmp_path: Path, project: Path) -> None:
    with pytest.raises(ProjectError, match="does not know the token of this job") as refused:
        kubernetes.log_in(Login("deploy-staging", "a stranger's", ROLE, "run", 900, tmp_path))
    assert "output -raw authentication" in refused.value.hint


def test_an_account_that_is_gone(tmp_path: Path, project: Path) -> None:
    gone = {"CLOUD_ROLE_DEPLOY_STAGING": "churn-staging/nobody"}
    with pytest.raises(ProjectError, match=r"Taking the role deploy-staging, .*has no such thing"):
        kubernetes.log_in(Login("deploy-staging", "admin", gone, "run", 900, tmp_path))


def test_a_role_that_bootstrap_has_not_told_of(tmp_path: Path, project: Path) -> None:
    with pytest.raises(ProjectError, match="CLOUD_ROLE_TRAIN") as refused:
        kubernetes.log_in(Login("train", "token", {}, "run", 900, tmp_path))
    assert "bootstrap" in refused.value.hint


def test_a_token_that_the_cluster_does_not_know(
    project: Path, running: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("KUBECONFIG", str(running.kubeconfig("stranger")))
        with pytest.raises(ProjectError, match="does not know this login, or it has expired"):
            kubernetes.status("staging")


def test_no_cluster_answers(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://127.0.0.1:9"
    write(here=(url, {"token": "ours"}))
    configure(tmp_path, **own.table(url, "registry.example.com/churn"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("twoloops.platforms.kubernetes.api.PAUSE_SECONDS", 0.0)
    with pytest.raises(ProjectError, match="API server does not answer") as refused:
        kubernetes.status("staging")
    assert "VPN" in refused.value.hint
    cluster.forget()


def test_a_cluster_without_bootstrap(project: Path, running: StandIn) -> None:
    running.admin.delete("/api/v1/namespaces/churn/configmaps/settings")
    cluster.forget()
    with pytest.raises(ProjectError, match="no ConfigMap settings in the namespace churn yet") as refused:
        kubernetes.status("staging")
    assert "bootstrap" in refused.value.hint
    own.settle(running.admin, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cluster", "cluster.example.com"),
        ("cluster", "http://cluster.example.com"),
        ("cluster", "https://user@cluster.example.com"),
        ("object_store", "bucket"),
        ("object_store", "file:///tmp"),
        ("image_repository", "churn"),
        ("image_repository", "registry.example.com/churn:tag"),
        ("serving_platform", "seldon"),
        ("unknown", "key"),
    ],
)
def test_a_setting_that_is_not_allowed(tmp_path: Path, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = own.table(HERE, "registry.example.com/churn")
    settings["kubernetes"][name] = value
    configure(tmp_path, **settings)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectError, match=f"not valid:\n  - {name}") as refused:
        cluster.chosen()
    assert "API server" in refused.value.hint


# ------------------------------------------------------------------ the registry


def test_the_registry_says_which_images_there_are(project: Path, registry: stores.Registry) -> None:
    assert images.reference("serve").startswith(f"{registry.repository}@sha256:")
    registry.tags.discard(tag("train"))
    with pytest.raises(ProjectError, match="has no image train-"):
        images.reference("train")


def test_a_login_to_the_registry_is_the_engines(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = cluster.chosen().image_repository.partition("/")[0]
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", *images.LOGIN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(project))
    with pytest.raises(ProjectError, match="no login to the registry"):
        images.Registry().log_in()
    auth = base64.b64encode(b"me:pass:word").decode()
    (project / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}), encoding="utf-8")
    assert images.Registry().log_in() == ("me", "pass:word")
    monkeypatch.setenv(images.LOGIN[0], "other")
    monkeypatch.setenv(images.LOGIN[1], "word")
    assert images.Registry().log_in() == ("other", "word")


def test_a_registrys_login_goes_to_no_other_place() -> None:
    challenge = 'Bearer realm="http://elsewhere.example.com/token",service="x"'
    assert images._log_in("registry.example.com", challenge) == {}


# ------------------------------------------------------------------ machines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training": {"cpu": "much", "memory": "1Gi", "disk": "1Gi", "hours": 1}}, "training.cpu"),
        ({"training": {"cpu": 1, "memory": "1GB", "disk": "1Gi", "hours": 1}}, "training.memory"),
        ({"scoring": None}, "scoring is missing"),
        ({"serving": {}}, "serving must name"),
        ({"more": 1}, "more"),
        ({"serving": {name: {"cpu": 1, "memory": "1Gi", "least": 3, "most": 2} for name in own.SPACES}}, "less than"),
    ],
)
def test_machines_that_are_not_allowed(project: Path, change: dict[str, Any], said: str) -> None:
    content = own.MACHINES | change
    (project / "infra/machines.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.raises(ProjectError, match=said):
        machines.load()
