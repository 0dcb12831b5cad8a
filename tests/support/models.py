"""Versions of a model for deployments: good ones, and some that fail in production."""

from __future__ import annotations

# Trials of seconds in place of minutes: the section `deploy` of params.yaml.
QUICK = {
    "load_seconds": 0.5,
    "load_connections": 2,
    "maximum_p99_ms": 2000.0,
    "canary_share": 0.5,
    "canary_seconds": 2.0,
    "canary_requests": 30,
    "maximum_latency_ratio": 4.0,
}

# Of the section `gate`: a few thousand rows make no good model, and what the gate demands is not what is tested then.
LENIENT = {
    "threshold": 0.55,
    "slice_threshold": 0.1,
    "minimum_gain_over_baseline": -1.0,
    "compare_with_champion": False,
    "minimum_group_ratio": 0.0,
    "maximum_latency_ms": 1000.0,
    "calibration_tolerance": None,
}

# A model that is right about a typical row and about some others, and fails on the rest. It is a module of the
# project's own: problem/faulty.py.
FAULTY = """
import sys
import time

import numpy as np
from sklearn.base import BaseEstimator


class Faulty(BaseEstimator):
    def __init__(self, fault="", width=2):
        self.fault = fault
        self.width = width

    def predict_proba(self, frame):
        new = frame["tenure"].to_numpy() < 12
        if self.fault == "raises" and new.any():
            raise RuntimeError("it knows no new subscribers")
        if self.fault == "raises where it serves" and new.any() and "twoloops.service.server" in sys.modules:
            raise RuntimeError("it knows no new subscribers")
        if self.fault == "slow":
            time.sleep(0.05)
        if self.fault == "ends" and new.any():
            import os
            os._exit(1)
        scores = np.full((len(frame), self.width), 1 / self.width)
        scores[:, 0] += frame["tenure"].to_numpy() / 1e4  # it tells rows apart
        if self.fault == "nan":
            scores[new] = np.nan
        return scores
"""

# Version 1 runs in production, as if it had been deployed.
START = """
from twoloops import registry
from twoloops.contracts.release import Deployment, Release
from twoloops.platforms import platform

platform.deploy("production", Deployment(Release.of(registry.get("1"))))
"""

# Registers one more version: the model that there is, with a note that makes it another artifact, or a faulty one.
# Give the project's package by `.format(package=...)`; python -c REGISTER FAULT PASSED NUMBER.
REGISTER = """
import json, sys
from pathlib import Path
from twoloops import artifact, params, registry
from twoloops.platforms import platform

fault, passed = sys.argv[1], sys.argv[2]
folder = Path("artifacts/model")
signature = artifact.Predictor.load(folder).signature
names = [path.name for path in folder.glob("*.json") if path.name not in ("manifest.json", "signature.json")]
documents = {{name: json.loads((folder / name).read_text()) for name in names}}
documents["note.json"] = {{"fault": fault, "number": sys.argv[3]}}
if fault:
    from {package}.problem.faulty import Faulty
    model = artifact.as_python(Faulty(fault))
else:
    model = artifact.ModelFile("model.onnx", (folder / "model.onnx").read_bytes())
identity = artifact.write(Path("artifacts/other"), model, signature, documents)
champion = registry.find(registry.CHAMPION)
run = registry.log_run({{}}, {{}}, {{}}, {{Path("artifacts/other"): registry.ARTIFACT}})
tags = {{"model_identity": identity, "compared_with": champion.number if champion else "none"}}
version = registry.create_version(run, tags)
registry.set_alias(registry.CHALLENGER, version)
if passed:
    note = {{"verdict": "passed", "image": platform.image(params.load().scan)}}
    platform.records().add(f"trials/staging/{{identity}}", note)
print(version.number)
"""
