"""What runs for the emulator: services of deployments and steps of jobs, as processes of this machine."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import requests

from tests.support.servers import ask, becomes_ready, free_port

from .state import Json, key, mint, state

# As a container has it: this machine's own search path, and nothing of the login of whoever started the emulator.
FROM_HERE = (
    "PATH",
    "HOME",
    "PYTHONPATH",
    "LANG",
    "OMP_NUM_THREADS",
    "HTTPS_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
MSI = {"MSI_SECRET": "the container's own"}


def environment(more: Json) -> dict[str, str]:
    """Return the variables of a container: its own, and how it finds its login."""
    own = {name: os.environ[name] for name in FROM_HERE if name in os.environ}
    msi = {"MSI_ENDPOINT": f"http://127.0.0.1:{os.environ['EMULATOR_PLAIN_PORT']}/msi/token", **MSI}
    return own | {name: str(value) for name, value in more.items()} | msi | {"TWOLOOPS_PROJECT": state.control.folder}


class Machine:
    """One running service of a deployment."""

    def __init__(self, spec: Json) -> None:
        """Bring the artifact, and start."""
        self.port, self.working = free_port(), 0
        self._folder = tempfile.TemporaryDirectory(prefix="endpoint-")
        root = Path(self._folder.name)
        properties = spec["properties"]
        image = state.resources[key(properties["environmentId"])]["properties"]
        self.routes = image["inferenceConfig"]
        limit = properties.get("requestSettings", {}).get("maxConcurrentRequestsPerInstance", 1)
        self.limit = 2 * limit * spec["sku"]["capacity"]
        model = state.resources[key(properties["model"])]["properties"]["modelUri"]
        # A folder of a datastore is mounted below the model's name and version.
        download(model, root / "model/artifact/1")
        (root / "state").mkdir()
        self._log = (root / "log").open("w+b")
        own = environment(properties.get("environmentVariables") or {})
        self.process = subprocess.Popen(
            [*state.control.command, "--port", str(self.port)],
            cwd=state.control.folder,
            env=own | {"AZUREML_MODEL_DIR": str(root / "model"), "PROJECT_STATE": str(root / "state")},
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )

    def is_ready(self, seconds: float = 60) -> bool:
        """Wait until it is ready; Azure would start again what ends, here that is a failure at once."""
        return becomes_ready(self.process, self.port, self.routes["readinessRoute"]["path"], seconds)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        """Send one request, and return the answer, whatever its status."""
        return ask(self.port, method, path, body, headers)

    def words(self) -> str:
        """Return what it has printed."""
        self._log.flush()
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        with suppress(OSError):
            self._folder.cleanup()


def download(uri: str, folder: Path) -> None:
    """Bring what lies in a datastore, which stands for a container, with the workspace's own rights."""
    found = re.fullmatch(r"azureml://(subscriptions/.+)/datastores/([^/]+)/paths/(.+)", uri)
    assert found, uri
    workspace = found[1].replace("/workspaces/", "/providers/Microsoft.MachineLearningServices/workspaces/")
    store = state.resources[key(f"/{workspace}/datastores/{found[2]}")]["properties"]
    base = f"https://{store['accountName']}.blob.core.windows.net/{store['containerName']}"
    headers = {
        "Authorization": f"Bearer {mint('workspace', 'https://storage.azure.com')}",
        "x-ms-version": "2023-11-03",
    }
    listed = requests.get(
        base, params={"restype": "container", "comp": "list", "prefix": f"{found[3]}/"}, headers=headers, timeout=30
    )
    for name in re.findall(r"<Name>([^<]+)</Name>", listed.text):
        path = folder / name.removeprefix(f"{found[3]}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(requests.get(f"{base}/{name}", headers=headers, timeout=30).content)


class Job:
    """A pipeline job: its steps run one after the other, each when those whose outputs it takes have succeeded."""

    def __init__(self, path: str) -> None:
        """Keep whose it is."""
        self.properties = state.resources[path]["properties"]
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Run the steps."""
        with tempfile.TemporaryDirectory(prefix="job-") as folder:
            waiting, done = dict(self.properties["jobs"]), set[str]()
            while waiting and self.properties["status"] == "Running":
                ready = next(name for name, step in waiting.items() if _needs(step) <= done)
                code = self._run(ready, waiting.pop(ready), Path(folder))
                if code and self.properties["status"] == "Running":
                    self.properties["status"] = "Failed"
                    self.properties["error"] = {"message": f"Pipeline has failed child jobs: {ready}"}
                elif not any((Path(folder) / ready).glob("*")):
                    self.properties["status"] = "Failed"
                    self.properties["error"] = {"message": "DataAccessError: the output is empty"}
                done.add(ready)
        ends = {"Running": "Completed", "CancelRequested": "Canceled"}
        self.properties["status"] = ends.get(self.properties["status"], self.properties["status"])

    def _run(self, name: str, step: Json, folder: Path) -> int:
        spec = state.resources[key(step["componentId"])]["properties"]["componentSpec"]
        given = {each: value["value"] for each, value in step["inputs"].items()}
        assert set(given) == set(spec["inputs"]), (given, spec["inputs"])
        assert step["identity"]["client_id"] == step["environment_variables"]["AZURE_CLIENT_ID"]
        (folder / name).mkdir()

        def put(found: re.Match[str]) -> str:
            kind, _, last = found[1].partition(".")
            return shlex.quote(given[last] if kind == "inputs" else str(folder / name))

        command = re.sub(r"\$\{\{(.+?)\}\}", put, spec["command"]).replace("python ", f"{state.control.python} ", 1)
        self._process = subprocess.Popen(
            ["sh", "-c", f"exec {command}"],
            env=environment(step["environment_variables"]),
            start_new_session=True,
        )
        return self._process.wait()

    def cancel(self) -> None:
        """Stop the step that runs, and begin no other."""
        self.properties["status"] = "CancelRequested"
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)


def _needs(step: Json) -> set[str]:
    texts = (str(each["value"]) for each in step["inputs"].values())
    return {name for text in texts for name in re.findall(r"\$\{\{parent\.jobs\.([^.]+)\.outputs\.done\}\}", text)}
