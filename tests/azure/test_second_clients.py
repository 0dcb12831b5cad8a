"""Microsoft's own SDK speaks to the emulator: what it does not understand, the emulator says otherwise than Azure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from twoloops.platforms.azure.account import Names

from commands.rendering import clean_environment
from tests.support.azure.state import REGION, SUBSCRIPTION
from tests.support.azure.subscription import demand_azurite, emulated_subscription
from tests.support.tools import UV

# Beside it: the same emulator answers the engine in tests/engine/platforms/azure.
pytestmark = [pytest.mark.slow, pytest.mark.twin]
NAMES = Names(SUBSCRIPTION, REGION, "churn", ("production",))
# In an environment of its own: it wants older versions of what the engine needs.
SDK = "azure-ai-ml>=1.35,<2"
SERVICE = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.tell(b"{}")

    def do_POST(self):
        self.tell(self.rfile.read(int(self.headers["Content-Length"])))

    def tell(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("127.0.0.1", int(sys.argv[-1])), Answers).serve_forever()
"""
CLIENT = """
import json, sys
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint, Model
from azure.identity import DefaultAzureCredential

subscription, group, workspace, store, rows = sys.argv[1:]
client = MLClient(DefaultAzureCredential(), subscription, group, workspace, enable_telemetry=False)
endpoints, deployments = client.online_endpoints, client.online_deployments
told = {"region": client.workspaces.get(workspace).location, "store": client.datastores.get("project").name}
ways = {"liveness": "/health/live", "readiness": "/health/ready", "scoring": "/invocations"}
routes = {f"{name}_route": {"port": 8080, "path": path} for name, path in ways.items()}
image = Environment(name="serve", version="1", image="cr.azurecr.io/churn@sha256:0", inference_config=routes)
image = client.environments.create_or_update(image).id
model = client.models.create_or_update(Model(name="churn", version="1", type="custom_model", path=store)).id
told["versions"] = [each.version for each in client.models.list("churn")]
endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="churn-sdk", auth_mode="aad_token")).result()
wanted = ManagedOnlineDeployment(
    name="blue", endpoint_name="churn-sdk", environment=image, model=model, instance_type="Standard_D2as_v4",
    instance_count=1,
)
told["state"] = deployments.begin_create_or_update(wanted).result().provisioning_state
found = endpoints.get("churn-sdk")
found.traffic = {"blue": 100}
told["traffic"] = endpoints.begin_create_or_update(found).result().traffic
told["answer"] = endpoints.invoke("churn-sdk", request_file=rows)
told["log"] = deployments.get_logs("blue", "churn-sdk", 10)
endpoints.begin_delete("churn-sdk").result()
told["left"] = [each.name for each in endpoints.list()]
print("TOLD" + json.dumps(told))
"""


def test_the_sdk_deploys_and_asks(tmp_path: Path) -> None:
    demand_azurite()
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    (tmp_path / "rows.json").write_text('{"rows": [1]}', encoding="utf-8")
    (tmp_path / "emulator").mkdir()
    python = tmp_path / "sdk/bin/python"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "sdk"], check=True)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", python, SDK], check=True)
    with emulated_subscription(tmp_path / "emulator", NAMES.storage) as subscription:
        subscription.make(NAMES, {})
        command = [sys.executable, str(tmp_path / "service.py")]
        subscription.control(command=command, folder=str(tmp_path), python=sys.executable)
        parts = NAMES.workspace().split("/")
        words = [SUBSCRIPTION, parts[4], parts[-1], NAMES.datastore(None, f"{NAMES.home}/models/1")]
        done = subprocess.run(
            [python, "-c", CLIENT, *words, tmp_path / "rows.json"],
            env=clean_environment() | subscription.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        asked = subscription.tell()["calls"]
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.rpartition("TOLD")[2])
    assert json.loads(told.pop("answer")) == {"rows": [1]}
    assert "POST /invocations" in told.pop("log")
    assert told == {
        "region": REGION,
        "store": "project",
        "versions": ["1"],
        "state": "Succeeded",
        "traffic": {"blue": 100},
        "left": [],
    }
    assert all(each["allowed"] for each in asked)
