"""What is in order here and what is not: the engine, the machine, the libraries, the configuration, the state.

This is asked when something does not work, so each part looks on its own: what fails in one is told, and the others go
on. What this module itself needs is the standard library; everything else is loaded where it is looked at. Where the
command itself does not start, `python -m twoloops.doctor` does.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from twoloops import config, integrity
from twoloops.errors import ProjectError

log = logging.getLogger(__name__)

PACKAGE: Final = "twoloops"
ENGINE: Final = "engine"  # the engine's folder in a project
RECORD: Final = "proved.txt"  # beside this module: the versions that the release was proved with
SOURCE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    about: str
    state: Literal["ok", "note", "wrong"]  # wrong: it must be put right
    text: str
    hint: str = ""


def examine() -> list[Finding]:
    """Look at everything, and return what was found."""
    parts: Mapping[str, Callable[[], Iterable[Finding]]] = {
        "engine": partial(check_engine, SOURCE),
        "machine": check_machine,
        "libraries": check_libraries,
        "configuration": check_configuration,
        "parameters": check_parameters,
        "state": check_state,
    }
    return [finding for about, part in parts.items() for finding in _guarded(about, part)]


def describe(found: list[Finding]) -> list[str]:
    """Return what was found in lines for people."""
    lines = []
    for each in found:
        lines.append(f"{each.state:5}  {each.about:13}  {each.text}")
        if each.hint:
            lines.append(f"{'':22}What to do: {each.hint}")
    wrong = sum(each.state == "wrong" for each in found)
    return [*lines, f"{wrong} to put right." if wrong else "All in order."]


def _guarded(about: str, part: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(part())
    except ProjectError as error:
        return [Finding(about, "wrong", str(error), error.hint)]
    except Exception as error:
        log.debug("%s could not be looked at", about, exc_info=True)
        return [Finding(about, "wrong", f"cannot be looked at: {type(error).__name__}: {error}")]


# ------------------------------------------------------------------------------------------------- engine


def check_engine(source: Path) -> Iterator[Finding]:
    """Say which engine works here, and whether it is as it was released.

    Args:
        source: the folder of the package that is in use.
    """
    folder = source.parent.parent
    if source.parent.name != "src" or not (folder / config.FILE).is_file():
        yield _check_installed()
        return
    version = tomllib.loads((folder / config.FILE).read_text(encoding="utf-8"))["project"]["version"]
    own = _root() / ENGINE
    if folder != own:
        beside = f", in place of {ENGINE}/" if own.is_dir() else ""
        yield Finding(ENGINE, "note", f"engine {version}, from an editable copy elsewhere{beside}: {folder}")
    manifest = integrity.read(folder)
    if manifest is None:
        if "dev" in version:
            yield Finding(ENGINE, "note", f"engine {version}, no release: there is no manifest to compare it with")
        else:
            text = f"engine {version}: its file {integrity.MANIFEST} is missing, so it cannot be compared"
            yield Finding(ENGINE, "wrong", text, _restore(folder))
        return
    if manifest.version != version:
        text = f"engine {version}: its {integrity.MANIFEST} is that of {manifest.version}"
        yield Finding(ENGINE, "wrong", text, _restore(folder))
        return
    differences = integrity.find_differences(folder, manifest)
    if not any(differences.values()):
        yield Finding(ENGINE, "ok", f"engine {version}, unmodified")
    for kind, names in differences.items():
        if names:
            text = f"engine {version} is not as it was released; {kind}: {', '.join(names)}"
            yield Finding(ENGINE, "wrong", text, _restore(folder))


def _restore(folder: Path) -> str:
    return (
        f"Bring it back from git: git checkout -- {folder.name}. To change the engine, take a copy elsewhere: "
        "engine/README.md says how."
    )


def _check_installed() -> Finding:
    """Say what of an installed wheel is not as it was built; pip's and uv's list of files has the digests."""
    distribution = metadata.distribution(PACKAGE)
    name = f"engine {distribution.version}, installed from a wheel"
    listed = [file for file in distribution.files or [] if file.hash and file.hash.mode == "sha256"]
    different = []
    for file in listed:
        path = Path(str(file.locate()))
        value = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
        expected = file.hash.value if file.hash else ""
        if base64.urlsafe_b64encode(value).decode().rstrip("=") != expected:
            different.append(str(file))
    if different:
        hint = f"Install it again: uv sync --reinstall-package {PACKAGE}"
        return Finding(ENGINE, "wrong", f"{name}, is not as it was built: {', '.join(different)}", hint)
    if not listed:
        return Finding(ENGINE, "note", f"{name}, without a list of its files: it cannot be compared")
    return Finding(ENGINE, "ok", f"{name}, unmodified")


def _root() -> Path:
    """Return the project's folder; where its configuration is broken, the nearest folder with a pyproject.toml."""
    try:
        return config.current().root
    except ProjectError:
        here = Path.cwd()
        return next((folder for folder in (here, *here.parents) if (folder / config.FILE).is_file()), here)


# ------------------------------------------------------------------------------------------------ machine


def check_machine() -> Iterator[Finding]:
    """Say which programs are there: those that every project needs, and those of its platform."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("machine", "ok", f"Python {python}, on {sys.platform}")
    yield _program(["git"], "the data's versions, deployments and updates need it", "https://git-scm.com/downloads")
    yield _program(["uv"], "it installs and runs the project", "https://docs.astral.sh/uv/getting-started/installation")
    offers = _offers()
    if "infrastructure" in offers:
        page = "https://developer.hashicorp.com/terraform/install"
        yield _program(["terraform"], "the verb 'infrastructure' needs it", page)
    if "images" in offers:
        yield _program(
            ["docker", "podman"], "the verb 'image' needs one of them", "https://podman.io/docs/installation"
        )


def _offers() -> frozenset[str]:
    """Return what the platform offers; nothing where it cannot be loaded: another part tells that."""
    try:
        from twoloops.platforms import platform

        return frozenset(platform.OFFERS)
    except Exception:
        return frozenset()


def _program(names: list[str], why: str, page: str) -> Finding:
    for name in names:
        if path := shutil.which(name):
            done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20)
            lines = done.stdout.strip().splitlines()
            return Finding("machine", "ok", lines[0] if lines else f"{name}, of an unknown version")
    return Finding("machine", "wrong", f"{' or '.join(names)} is missing: {why}", f"Install it: {page}")


# ---------------------------------------------------------------------------------------------- libraries


def check_libraries() -> Iterator[Finding]:
    """Compare what is installed with what the engine needs, and with what its release was proved with."""
    installed = {_name(each.metadata["Name"]): each.version for each in metadata.distributions()}
    core, by_extra = _requirements()
    wrong = list(_outside([*core, *(each for extra in by_extra.values() for each in extra)], installed))
    if lacking := sorted(each.name for each in core if _name(each.name) not in installed):
        wrong.append(f"{', '.join(lacking)}: missing, and nothing works without")
    for extra in sorted(_asked_extras() & by_extra.keys()):
        needed = {_name(each.name) for each in by_extra[extra]}
        if needed.isdisjoint(installed):
            yield Finding("libraries", "note", f"the extra {extra} is not installed here")
        elif lacking := sorted(needed - installed.keys()):
            wrong.append(f"{', '.join(lacking)}: missing from the extra {extra}")
    for text in wrong:
        yield Finding("libraries", "wrong", text, "Install what uv.lock says: uv sync")
    record = read_record()
    others = [
        f"{name} {installed[name]} (proved with {version})"
        for name, version in sorted(record.items())
        if installed.get(name, version) != version
    ]
    same = sum(installed.get(name) == version for name, version in record.items())
    if others:
        text = f"{same} packages as the release was proved with, {len(others)} others: {', '.join(others)}"
        yield Finding(
            "libraries", "note", text, "Your uv.lock rules. When something fails, try the proved version first."
        )
    else:
        yield Finding("libraries", "ok", f"{same} packages, all as the release was proved with")


def _requirements() -> tuple[list[Any], dict[str, list[Any]]]:
    """Return what the engine needs on this machine: always, and by extra. Each is a packaging Requirement."""
    from packaging.requirements import Requirement

    distribution = metadata.distribution(PACKAGE)
    all_of_them = [Requirement(line) for line in distribution.requires or []]
    extras = distribution.metadata.get_all("Provides-Extra") or []
    core = [each for each in all_of_them if not each.marker or each.marker.evaluate({"extra": ""})]
    by_extra = {
        extra: [
            each for each in all_of_them if each not in core and each.marker and each.marker.evaluate({"extra": extra})
        ]
        for extra in extras
    }
    return core, by_extra


def _outside(requirements: Iterable[Any], installed: Mapping[str, str]) -> Iterator[str]:
    found = {}
    for each in requirements:
        version = installed.get(_name(each.name))
        if version and not each.specifier.contains(version, prereleases=True):
            found[each.name] = f"{each.name} {version} is outside of what this engine works with: {each.specifier}"
    yield from found.values()


def _asked_extras() -> set[str]:
    """Return the extras of the engine that the project's pyproject.toml asks for, in any group."""
    content = tomllib.loads((_root() / config.FILE).read_text(encoding="utf-8"))
    lines = [*content.get("project", {}).get("dependencies", [])]
    for group in content.get("dependency-groups", {}).values():
        lines += [line for line in group if isinstance(line, str)]
    found = [re.match(rf"{PACKAGE}\s*\[([^\]]*)\]", line) for line in lines]
    return {extra.strip() for each in found if each for extra in each[1].split(",")}


def read_record() -> dict[str, str]:
    """Return the versions that this release was proved with, by the packages' names."""
    lines = (SOURCE / RECORD).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _name(text: str) -> str:
    """Return a package's name as indexes have it."""
    return re.sub(r"[-_.]+", "-", text).lower()


# ----------------------------------------------------------------------- configuration, parameters, state


def check_configuration() -> Iterator[Finding]:
    """Read [tool.twoloops], and load the platform, the code host and the problem type that it names."""
    from twoloops import plugins

    chosen = config.current()
    yield Finding("configuration", "ok", f"[{config.TABLE}] of {chosen.root / config.FILE} is valid")
    for kind, name in (("platforms", chosen.platform), ("hosts", chosen.host), ("problems", chosen.problem)):
        yield from _guarded("configuration", partial(_load, plugins.find, kind, name))


def _load(find: Callable[[str, str], Any], kind: str, name: str) -> list[Finding]:
    find(kind, name)
    return [Finding("configuration", "ok", f"{kind}: {name}")]


def check_parameters() -> Iterator[Finding]:
    """Check params.yaml, for which the project's own model.py is loaded."""
    from twoloops import params
    from twoloops.paths import paths

    checked = params.load()
    yield Finding("parameters", "ok", f"{paths().params} is valid")
    if config.current().online and checked.forgets_too_early:
        hint = "Set serve.capture_days to twice data.label_days, or data.label_days to what your labels take."
        yield Finding("parameters", "note", f"{checked.forgets_too_early}.", hint)


def check_state() -> Iterator[Finding]:
    """Say where state and registry lie."""
    from twoloops import registry
    from twoloops.paths import STATE_VARIABLE, paths

    kept = f" ({STATE_VARIABLE})" if paths().lasts else ""
    yield Finding("state", "ok", f"state: {paths().state.absolute()}{kept}")
    yield Finding("state", "ok", f"registry: {_without_login(registry.tracking_uri())}")


def _without_login(address: str) -> str:
    return re.sub(r"//[^/@]*@", "//", address)


if __name__ == "__main__":
    everything = examine()
    print("\n".join(describe(everything)))
    sys.exit(any(each.state == "wrong" for each in everything))
