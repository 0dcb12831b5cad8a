"""The Dockerfile and the compose stack: the programs that read them take them, and what they start is careful."""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import Render
from tests.support.answers import HOSTILE
from tests.support.tools import need

MODES = ["online", "batch", "online_and_batch"]
modes = pytest.mark.parametrize("mode", MODES)


@modes
@pytest.mark.parametrize("answers", [{}, HOSTILE], ids=["default", "hostile"])
def test_dockerfile_is_clean(mode: str, answers: dict[str, Any], rendered: Render) -> None:
    given = {name: value for name, value in answers.items() if mode != "batch" or name != "environments"}
    project = rendered(given | {"serving_mode": mode})
    finished = subprocess.run(
        [need("hadolint"), "Dockerfile"], cwd=project, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout
    # No rule is switched off.
    assert "hadolint" not in (project / "Dockerfile").read_text(encoding="utf-8")
    assert not list(project.glob(".hadolint*"))


@modes
def test_compose_file_is_valid_and_careful(mode: str, rendered: Render) -> None:
    project = rendered({"serving_mode": mode})
    command = [need("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
    finished = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
    text = (project / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    assert set(services) - {"service"} == {"mlflow", "reports", "prometheus", "alertmanager", "grafana"}
    assert ("service" in services) == ("online" in mode)
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert "healthcheck" in service or service["build"] == ".", name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "build" in service or re.search(r":(\$\{\w+:-)?v?\d+\.\d+\.\d+\}?$", service["image"]), name
        for volume in service["volumes"]:
            if isinstance(volume, dict):
                assert volume["bind"] == {"create_host_path": False}, name
                assert volume["read_only"] is True or volume["source"] == "./data/captures", name
    assert not re.search(r"(?i)(password|secret|token)\w*:\s*\S", text)
    for volume in services["prometheus"]["volumes"][:2] + services["grafana"]["volumes"][:2]:
        assert (project / volume["source"]).is_dir()
