"""A code host that only writes down what it is asked."""

from __future__ import annotations

from pathlib import Path

from twoloops.contracts.host import Issue, Setup


class Host:
    """Stands in for the code host of a project; a test registers it under the name `stand_in`."""

    NAME = "the stand-in"

    def __init__(self) -> None:
        """Begin with no issue, and with change 7, which does not come from a fork."""
        self.asked: list[str] = []
        self.issues: dict[str, Issue] = {}
        self.summary = ""
        self.fork = False
        self.target: str | None = None
        self.settings: Setup | None = None

    def change(self) -> str | None:
        return "7"

    def base(self) -> str | None:
        return self.target

    def from_fork(self) -> bool:
        return self.fork

    def in_flow(self) -> bool:
        return False

    def run_url(self) -> str:
        return "https://host.invalid/run"

    def set_output(self, name: str, value: str) -> None:
        self.asked.append(f"output {name}={value}")

    def setup(self) -> Setup:
        assert self.settings is not None
        return self.settings

    def comment(self, number: str, mark: str, body: str) -> str:
        assert mark in body
        self.asked.append(f"comment {number}")
        return "https://host.invalid/comment"

    def add_summary(self, markdown: Path) -> None:
        self.summary = markdown.read_text(encoding="utf-8")

    def find_issue(self, label: str) -> Issue | None:
        return self.issues.get(label)

    def open_issue(self, title: str, body: str, label: str) -> Issue:
        assert label not in self.issues
        self.issues[label] = Issue("1", "https://host.invalid/1", body)
        self.asked.append(f"open {label}")
        return self.issues[label]

    def update_issue(self, issue: Issue, body: str) -> None:
        self.asked.append("update")

    def close_issue(self, issue: Issue, body: str) -> None:
        self.asked.append("close")
        self.issues.clear()

    def start(self, flow: str, inputs: dict[str, str]) -> str | None:
        self.asked.append(f"start {flow} {inputs['reason']}")
        return None

    def propose(self, branch: str, title: str, body: str) -> str:
        self.asked.append(f"propose {branch}: {title}")
        return "https://host.invalid/change"
