"""A job's variables: macros, secrets, and what of them becomes the environment of a step.

Source: https://learn.microsoft.com/azure/devops/pipelines/process/variables
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_MACRO = re.compile(r"\$\(([\w.]+)\)")


class Variables:
    """Variables by name, which may be written in either case."""

    def __init__(self, values: Mapping[str, str] | None = None, secrets: Iterable[str] = ()) -> None:
        self._values: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._secrets: set[str] = set()
        self._masked: set[str] = set()
        hidden = {name.lower() for name in secrets}
        for name, value in (values or {}).items():
            self.set(name, value, secret=name.lower() in hidden)

    def set(self, name: str, value: str, *, secret: bool = False) -> None:
        """Set a variable; a secret stays one, and its value is masked wherever it is shown."""
        key = name.lower()
        self._names.setdefault(key, name)
        self._values[key] = value
        if secret:
            self._secrets.add(key)
        if key in self._secrets:
            self.hide(value)

    def hide(self, value: str) -> None:
        """Mask a value from now on."""
        if value:
            self._masked.add(value)

    def get(self, name: str, default: str = "") -> str:
        """Return a variable's value."""
        return self._values.get(name.lower(), default)

    def all(self) -> dict[str, str]:
        """Return every variable by name, as expressions see them."""
        return {self._names[key]: value for key, value in self._values.items()}

    def copy(self) -> Variables:
        """Return variables of an inner scope."""
        inner = Variables(self.all(), [self._names[key] for key in self._secrets])
        inner._masked |= self._masked
        return inner

    def expand(self, text: str, depth: int = 5) -> str:
        """Replace `$(name)`; a name that is not known is left as it is, as on the agent."""

        def put(match: re.Match[str]) -> str:
            key = match[1].lower()
            if key not in self._values:
                return match[0]
            value = self._values[key]
            return self.expand(value, depth - 1) if depth else value

        return _MACRO.sub(put, text)

    def environment(self) -> dict[str, str]:
        """Return what a step has in its environment: all variables but the secret ones."""
        shown = {key: value for key, value in self._values.items() if key not in self._secrets}
        return {re.sub(r"[. ]", "_", key).upper(): self.expand(value) for key, value in shown.items()}

    def mask(self, text: str) -> str:
        """Return a text without the values of secrets."""
        for value in sorted(self._masked, key=len, reverse=True):
            text = text.replace(value, "***")
        return text
