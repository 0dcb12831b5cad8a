"""policy.yaml: what an organization decides about the template."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ..refusal import Refused, nearest
from ..sources import refuse_secret

FILE = "policy.yaml"

Value = bool | int | float | str
Line = Annotated[str, StringConstraints(pattern=r"^[^\s<>`|\\][^\x00-\x1f\x7f<>`|\\]{0,79}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,38}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Number = Annotated[str, StringConstraints(pattern=r"^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}$")]
Tag = Annotated[str, StringConstraints(pattern=r"^v(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}$")]
Place = Annotated[str, StringConstraints(pattern=r"^[^-\x00-\x1f][^\x00-\x1f]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Section(BaseModel):
    """A mapping in which a name that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Jinja(Section):
    """A default that follows other answers, such as `jinja: "{{ owner }}@example.com"`."""

    jinja: str


class Organization(Section):
    """Whose template it is."""

    name: Line
    slug: Slug


class Source(Section):
    """The release that the template is built from."""

    source: Place
    version: Tag


class Policy(Section):
    """Everything that an organization decides. Texts are data: only `jinja` and `layers` are Jinja."""

    organization: Organization
    upstream: Source
    version: Number
    defaults: dict[Name, Value | Jinja] = {}
    locks: dict[Name, Value] = {}
    choices: dict[Name, Annotated[list[Value], Field(min_length=2)]] = {}
    questions: dict[Name, dict[str, Any]] = {}
    layers: dict[Name, str] = {}
    replaces: dict[str, Sha256] = {}

    @property
    def tag(self) -> str:
        """The tag of the next release."""
        return f"v{self.version}"


EXPECTED = {
    Line: "one line of 1 to 80 printable characters, none of them < > ` | or \\",
    Slug: "1 to 39 lower-case letters a-z, digits and hyphens, beginning with a letter",
    Name: "lower-case letters a-z, digits and _, beginning with a letter",
    Number: 'three numbers such as "1.0.0"',
    Tag: "a release's tag such as v0.1.0",
    Place: "the URL of a git repository, or its path from the workspace",
    Sha256: "the SHA-256 of the upstream's file, 64 hexadecimal digits",
}
MEMBERS = ("bool", "int", "float", "str")  # of Value
PATTERNS = {kind.__metadata__[0].pattern: text for kind, text in EXPECTED.items()}  # type: ignore[attr-defined]


def load(workspace: Path) -> Policy:
    """Read the policy of a workspace.

    Raises:
        Refused: it is missing, no YAML, or says what a policy cannot say.
    """
    file = workspace / FILE
    try:
        content = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Refused(
            f"{workspace.name or workspace}/ holds no {FILE}.",
            "Name the workspace's folder; `organization init` makes one.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{FILE} cannot be read: {error}") from error
    return parse(content)


def parse(content: str) -> Policy:
    """Return the policy that a text says.

    Raises:
        Refused: it is no YAML, or says what a policy cannot say.
    """
    try:
        data = YAML(typ="safe", pure=True).load(content)
    except YAMLError as error:
        raise Refused(f"{FILE} is no YAML: {error}") from error
    try:
        policy = Policy.model_validate(data if data is not None else {})
    except ValidationError as error:
        raise Refused("\n".join(dict.fromkeys(map(_told, error.errors())))) from error
    for name, value in policy.model_dump().items():
        refuse_secret(value, f"{FILE}: {name}")
    return policy


def _told(error: Any) -> str:
    """Say one of pydantic's errors with field and value, and with the nearest name where one is unknown."""
    place, wanted = list(error["loc"]), error["msg"].removeprefix("Input should be ")
    if error["type"] == "model_type":
        wanted = "names with values, such as version: 1.0.0"
    elif error["type"] == "string_type":
        wanted = "a text: write it in quotes"
    if len(place) > 2 and place[-1] in MEMBERS:  # pydantic names each type that the value could have had
        place, wanted = place[:-1], "a text, a number, true or false"
    where = f"{FILE}: {'.'.join(str(part) for part in place if part not in ('Jinja', '[key]'))}" if place else FILE
    if error["type"] == "extra_forbidden":
        return f"{where} is not known. {nearest(place[-1], _fields(place[:-1]))}"
    if error["type"] == "missing":
        return f"{where} is missing."
    if error["type"] == "too_short":
        return f"{where} is {error['input']!r}: a single choice is a lock. Put it under locks."
    wanted = PATTERNS.get(error.get("ctx", {}).get("pattern"), wanted)
    return f"{where} is {error['input']!r}, but has to be {wanted}."


def _fields(place: Iterable[str]) -> list[str]:
    model: type[BaseModel] = Policy
    for name in place:
        inner = model.model_fields[name].annotation if name in model.model_fields else None
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else Jinja
    return list(model.model_fields)
