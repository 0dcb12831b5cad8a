"""Stand-ins for the built-in tasks that the template uses: they check what the real ones demand.

Source: https://learn.microsoft.com/azure/devops/pipelines/tasks/reference; each function names its page.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from .agent import Call, StepFailed, Task

_PYTHON = """#!/usr/bin/env bash
# The pinned uv is on this machine already.
if [[ "$1 $2 $3" == "-m pip install" ]]; then
  echo "$@" >> {log}
  exit 0
fi
exec python3 "$@"
"""


def use_python_version(call: Call) -> None:
    """use-python-version-v0: a Python of the tool cache, which a machine of one's own does not have."""
    call.need("versionSpec")
    if not call.job.hosted:
        raise StepFailed(
            f"Version spec {call.inputs['versionSpec']} did not match any version in Agent.ToolsDirectory."
        )
    folder = call.job.workspace / "temp" / "python"
    folder.mkdir()
    program = folder / "python"
    program.write_text(_PYTHON.format(log=call.job.workspace / "pip.log"))
    program.chmod(0o755)
    call.job.prepend_path(folder)


def publish_test_results(call: Call) -> None:
    """publish-test-results-v2: a warning alone where no file matches, unless it is told to fail."""
    call.need("testResultsFormat", "testResultsFiles")
    if call.inputs["testResultsFormat"] not in ("JUnit", "NUnit", "VSTest", "XUnit", "CTest"):
        raise StepFailed(f"Invalid testResultsFormat: {call.inputs['testResultsFormat']}")
    _published("PublishTestResults", call, "testResultsFiles", "failTaskOnMissingResultsFile")


def publish_code_coverage(call: Call) -> None:
    """publish-code-coverage-results-v2."""
    call.need("summaryFileLocation")
    _published("PublishCodeCoverageResults", call, "summaryFileLocation", "failIfCoverageEmpty")


def _published(task: str, call: Call, pattern: str, strict: str) -> None:
    found = list(call.job.sources.glob(call.inputs[pattern]))
    if not found:
        if call.inputs.get(strict, "false").lower() == "true":
            raise StepFailed(f"No files matching {call.inputs[pattern]} were found.")
        call.job.records.issues.append(("warning", f"No files matching {call.inputs[pattern]} were found."))
        return
    call.job.records.published.append((task, dict(call.inputs)))


def cache(warm: Mapping[str, Path]) -> Task:
    """cache-v2; a key whose first segment is in `warm` finds that folder of this machine.

    A file pattern in the key that matches nothing fails the task, as the real one does
    (https://github.com/microsoft/azure-pipelines-tasks/issues/18138).
    """

    def restore(call: Call) -> None:
        key, path = call.need("key", "path")
        place = call.job.sources / path
        segments = _fingerprint(key, call.job.sources)
        prefixes = [_fingerprint(line, call.job.sources) for line in call.inputs.get("restoreKeys", "").splitlines()]
        store = call.job.records.caches
        if segments[0] in warm:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(warm[segments[0]])
            return
        wanted = "|".join(segments)
        candidates = {file.read_text(): file.with_suffix("") for file in sorted(store.glob("*.key"))}
        hit = candidates.get(wanted)
        for prefix in prefixes:
            hit = hit or next((kept for name, kept in candidates.items() if name.startswith("|".join(prefix))), None)
        if hit:
            shutil.copytree(hit, place, dirs_exist_ok=True)

        def save() -> None:
            kept = store / hashlib.sha256(wanted.encode()).hexdigest()
            if wanted not in candidates and place.is_dir():
                shutil.copytree(place, kept)
                kept.with_suffix(".key").write_text(wanted)

        call.later.append(save)

    return restore


def _fingerprint(key: str, folder: Path) -> list[str]:
    """Return a key's segments; a path is replaced by the hash of its content."""
    segments = []
    for segment in (part.strip() for part in key.split("|")):
        if segment.startswith('"') and segment.endswith('"'):
            segments.append(segment.strip('"'))
        elif re.search(r"[./\\*]", segment):
            found = sorted(path for path in folder.rglob("*") if _matches(path.relative_to(folder), segment))
            if not found:
                raise StepFailed(f"System.IO.FileNotFoundException: No matching files found for pattern: {segment}")
            segments.append(hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest())
        else:
            segments.append(segment)
    return segments


def _matches(path: Path, pattern: str) -> bool:
    return ".venv" not in path.parts and fnmatch.fnmatch(str(path), pattern.replace("**/", "*"))


def stand_ins(warm: Mapping[str, Path] | None = None) -> dict[str, Task]:
    """Return the tasks that a run knows; any other is an error."""
    return {
        "Cache@2": cache(warm or {}),
        "PublishCodeCoverageResults@2": publish_code_coverage,
        "PublishTestResults@2": publish_test_results,
        "UsePythonVersion@0": use_python_version,
    }
