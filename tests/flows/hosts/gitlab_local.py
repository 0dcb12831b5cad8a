"""Runs the pipelines of a project by gitlab-ci-local, as GitLab would start them.

What it cannot know of a real GitLab is given to it: who asks (the variables of https://docs.gitlab.com/ci/variables/
predefined_variables/), the inputs of the pipeline, and which manual jobs a person starts.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from tests.flows.project import FlowProject, node_tool
from tests.support.tools import UV, need

from . import gitlab_api
from .tokens import token

# gitlab-ci-local lays a job's folder out anew before after_script as well, where GitLab goes on in the same one. On a
# machine of one's own files that git does not know stay there (GIT_CLEAN_FLAGS: none).
RSYNC = """#!/usr/bin/env bash
words=("$@")
if [[ " ${{words[*]}} " == *" --delete-excluded "* ]]; then
  mark={marks}/$(basename "${{words[-1]}}")
  [[ -e $mark ]] && exit 0
  touch "$mark"
  if [[ $KEEP_FILES == true ]]; then
    words=(-a "${{words[@]:3}}")
  fi
fi
exec {rsync} "${{words[@]}}"
"""


@dataclass(frozen=True)
class Run:
    """A pipeline that has ended."""

    code: int
    log: str

    def jobs(self, outcome: str) -> set[str]:
        """Return the jobs with an outcome, PASS or FAIL, as the summary at the end lists them."""
        return set(re.findall(rf"^ {outcome}  ([\w -]+?)(?: +\d+% coverage)?\s*$", self.log, re.MULTILINE))


class Pipelines:
    """A project, a GitLab, and the machine that runs the jobs."""

    def __init__(self, project: FlowProject, gitlab: gitlab_api.GitLab) -> None:
        """Keep both, and lay out the machine: its git leads every push to the bare remote."""
        self.project, self.gitlab = project, gitlab
        self._home = project.folder.parent / "home"
        self._home.mkdir(exist_ok=True)
        with (project.folder / ".git/info/exclude").open("a", encoding="utf-8") as excluded:
            excluded.write("/.gitlab-ci-local/\n")  # where gitlab-ci-local works: no commit takes it
        self._git = self._home / "gitconfig"
        pushed_to = f"http://oauth2:{gitlab_api.TOKEN}@gitlab.example/{gitlab_api.PROJECT}.git"
        self._git.write_text(f'[url "{project.origin}"]\n\tinsteadOf = {pushed_to}\n', encoding="utf-8")
        self._marks = self._home / "marks"
        shim = self._home / "bin/rsync"
        shim.parent.mkdir(exist_ok=True)
        shim.write_text(RSYNC.format(marks=shlex.quote(str(self._marks)), rsync=need("rsync")), encoding="utf-8")
        shim.chmod(0o755)
        self._cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()

    def run(
        self,
        source: str,
        *,
        inputs: Mapping[str, str] | None = None,
        manual: Sequence[str] = (),
        jobs: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        preview: bool = False,
    ) -> Run:
        """Run a pipeline to its end.

        Args:
            source: what starts it: push, schedule, web, api or merge_request_event.
            inputs: of the pipeline.
            manual: the jobs that a person starts.
            jobs: run these alone.
            variables: further ones, of the project or predefined.
            preview: run nothing, and return the expanded pipeline as the log.
        """
        known = {
            "CI_PROJECT_DIR": str(
                self._home / "checkout"
            ),  # for what lies beside it: a job's own folder has no fixed name
            "CI_API_V4_URL": f"{self.gitlab.url}/api/v4",
            "CI_PIPELINE_SOURCE": source,
            "CI_PROJECT_ID": str(gitlab_api.NUMBER),
            "CI_PROJECT_PATH": gitlab_api.PROJECT,
            "CI_PROJECT_URL": f"http://gitlab.example/{gitlab_api.PROJECT}",
            "CI_JOB_URL": f"http://gitlab.example/{gitlab_api.PROJECT}/-/jobs/1",
            "CI_SERVER_FQDN": "gitlab.example",
            "CI_SERVER_PROTOCOL": "http",
            "GITLAB_CI": "true",
            "UV_CACHE_DIR": self._cache,  # the runner's cache of packages, warm
        }
        command = [
            *node_tool("gitlab-ci-local", "dist", "index.js"), "--force-shell-executor", "--shell-isolation",
            "--no-artifacts-to-source", "--no-color", "--concurrency=1", f"--home={self._home}",
        ]  # fmt: skip
        # A change sees what is not protected.
        known["GITLAB_REPORT_TOKEN" if source == "merge_request_event" else "GITLAB_TOKEN"] = gitlab_api.TOKEN
        if source == "merge_request_event":
            command.append("--unset-variable=CI_COMMIT_BRANCH")
            known |= {
                "CI_MERGE_REQUEST_IID": "1",
                "CI_MERGE_REQUEST_PROJECT_ID": str(gitlab_api.NUMBER),
                "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": str(gitlab_api.NUMBER),
                "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": gitlab_api.PROJECT,
                "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
            }
        known |= variables or {}
        command.append(f"--ignore-predefined-vars={','.join(known)}")
        command += [word for name, value in known.items() for word in ("--variable", f"{name}={value}")]
        command += [word for name in manual for word in ("--manual", name)]
        if inputs:
            # By a file: on the command line 3 would be a number, and GitLab's forms give a text.
            file = self._home / "inputs.yml"
            file.write_text(yaml.safe_dump(dict(inputs)), encoding="utf-8")
            command.append(f"--inputs-file={file}")
        if preview:
            command.append("--preview")
        command += jobs
        # A pipeline has no artifacts of the one before.
        for folder in (self._marks, self.project.folder / ".gitlab-ci-local/artifacts"):
            shutil.rmtree(folder, ignore_errors=True)
        self._marks.mkdir()
        env = self.project.environment(GIT_CONFIG_GLOBAL=str(self._git), KEEP_FILES=str("RUNNER" in known).lower())
        env["SHLVL"] = "2"  # else bash, which finds a socket as its input, takes itself for rshd's and reads ~/.bashrc
        env["PATH"] = f"{self._home / 'bin'}{os.pathsep}{env['PATH']}"
        with self._tokens("change" if source == "merge_request_event" else "main", asked=not preview):
            done = subprocess.run(
                command, cwd=self.project.folder, env=env, capture_output=True, text=True, check=False
            )
        return Run(done.returncode, done.stdout if preview else done.stdout + done.stderr)

    @contextmanager
    def _tokens(self, branch: str, *, asked: bool) -> Iterator[None]:
        """Give jobs the tokens that they ask for, as variables, which is what GitLab makes of `id_tokens`.

        gitlab-ci-local does not know these: https://docs.gitlab.com/ci/secrets/id_token_authentication/.
        """
        file = self.project.folder / ".gitlab/ci/cloud.yml"
        if not asked or not file.exists():
            yield
            return
        before = file.read_text(encoding="utf-8")
        jobs = yaml.safe_load(before)
        subject = f"{self.gitlab.known_as}:ref_type:branch:ref:{branch}"
        for job in jobs.values():
            for name, wanted in job.pop("id_tokens", {}).items():
                job.setdefault("variables", {})[name] = token("https://gitlab.com", subject, wanted["aud"])
        file.write_text(yaml.safe_dump(jobs), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(before, encoding="utf-8")
