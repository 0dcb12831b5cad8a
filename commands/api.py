"""`uv run api`: writes the page of the engine's public API from the code: each name with its signature and its text."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from textwrap import indent
from typing import Any

from .rendering import TEMPLATE

PAGE = TEMPLATE / "template/engine/docs/api.md"
HEAD = """\
# The public API

What your code may import is `twoloops` itself: the names on this page, and no module below. They keep their
meaning for a major version. A name that is to go works on until the next one, and warns with
`DeprecationWarning`, which says what to use instead. Everything else may move with any release.

```python
from twoloops import ProjectError, by_time
```
"""
LONGEST = 100


def page() -> str:
    """Return the page."""
    import twoloops  # noqa: PLC0415 - no dependency of the other commands

    sections = [
        f"## {name}\n\n```python\n{_described(name, getattr(twoloops, name))}```\n" for name in twoloops.__all__
    ]
    return "\n".join([HEAD, *sections])


def _described(name: str, value: Any) -> str:
    """Return a name as a stub: what is written to use it, and what it says of itself."""
    if inspect.isclass(value):
        bases = [base.__name__ for base in value.__bases__ if base is not object and not issubclass(base, tuple)]
        own = "\n".join([f"{_text(value)}\n", *_members(value)]).rstrip("\n")
        about = f"# {name}{_signature(value, made=True)}\n"
        inherits = f"({', '.join(bases)})" if bases else ""
        return f"{about}class {name}{inherits}:\n{indent(own, '    ')}\n"
    return f"def {name}{_signature(value)}:\n{indent(_text(value), '    ')}\n"


def _members(kind: type) -> Iterator[str]:
    """Give the public methods and properties that a class itself has, as stubs."""
    for name, value in vars(kind).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            returned = inspect.signature(value.fget).return_annotation if value.fget else Any
            yield f"@property\ndef {name}(self) -> {_annotation(returned)}:\n{indent(_text(value), '    ')}\n"
        elif isinstance(value, classmethod | staticmethod):
            how = "classmethod" if isinstance(value, classmethod) else "staticmethod"
            yield f"@{how}\ndef {name}{_signature(value.__func__)}:\n{indent(_text(value), '    ')}\n"
        elif inspect.isfunction(value):
            yield f"def {name}{_signature(value)}:\n{indent(_text(value), '    ')}\n"


def _text(value: Any) -> str:
    """Return the docstring as it stands in code."""
    text = inspect.cleandoc(value.__doc__ or "")
    return f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'


def _signature(value: Any, *, made: bool = False) -> str:
    """Return a signature on one line or, where that is long, with an argument a line; `made`: of a class."""
    signature = inspect.signature(value)
    parts, starred = [], False
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not starred:
            parts.append("*")
        starred = starred or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        star = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
        kind = "" if each.annotation is each.empty else f": {_annotation(each.annotation)}"
        default = "" if each.default is each.empty else f"{' = ' if kind else '='}{each.default!r}"
        parts.append(f"{star}{each.name}{kind}{default}")
    end = (
        ""
        if made or signature.return_annotation is signature.empty
        else f" -> {_annotation(signature.return_annotation)}"
    )
    line = f"({', '.join(parts)}){end}"
    if len(line) <= LONGEST:
        return line
    start = "#     " if made else "    "
    return "\n".join(["(", *(f"{start}{part}," for part in parts), ("# )" if made else ")") + end])


def _annotation(value: Any) -> str:
    text = value if isinstance(value, str) else getattr(value, "__forward_arg__", "") or inspect.formatannotation(value)
    for module in ("twoloops.artifact.", "twoloops.problems.tabular.splitting.", "typing."):
        text = text.replace(module, "")
    return text


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written: {PAGE.relative_to(TEMPLATE)}")


if __name__ == "__main__":
    main()
