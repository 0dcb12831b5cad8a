"""The built copier.yml: upstream's text as it is, and what the policy decides about its questions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jinja2
import yaml
from jinja2 import meta

from commands.answer_space import Template
from commands.questions import asked, axes, kind

from ..refusal import Refused, nearest
from .policy import FILE, Jinja, Policy, Value

ORGANIZATION = "organization"  # the layer that every project of an organization has
SETTINGS = (
    "type",
    "help",
    "choices",
    "default",
    "multiselect",
    "multiline",
    "placeholder",
    "qmark",
    "validator",
    "when",
    "ask",
)
ORDER = """\
# The order of the questions: the organization's own come before the layers, which may depend on them.
"""
DECIDED = """\
# What the organization decides. Made from its policy: do not edit.
"""


def compose(upstream: Template, text: str, policy: Policy) -> str:
    """Return the built copier.yml.

    Args:
        upstream: the release of upstream.
        text: its copier.yml.
        policy: what the organization decides.

    Raises:
        Refused: the policy names what upstream does not have, or says two things about one question.
    """
    _names(upstream, policy)
    _own_names(upstream, policy)
    _values(upstream, policy)
    order = list(upstream.questions())
    order[order.index("layer") : order.index("layer")] = policy.questions
    decided = {**_overridden(upstream, policy), **policy.questions, "layer": _layers(upstream, policy)}
    return "".join((ORDER, _yaml(dict.fromkeys(order)), "---\n", text, "---\n", DECIDED, _yaml(decided)))


class Readable(yaml.SafeDumper):
    """YAML in which a text of several lines is written as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, _text)


def _yaml(document: Mapping[str, Any]) -> str:
    dumped: str = yaml.dump(dict(document), Dumper=Readable, sort_keys=False, allow_unicode=True, width=110)
    return dumped


def _names(upstream: Template, policy: Policy) -> None:
    """Refuse names that upstream does not have."""
    if "layer" not in upstream.questions():
        raise Refused(
            f"{FILE}: upstream.source is {policy.upstream.source}, whose copier.yml has no layers.",
            "Name the repository of copier-mlops, or a copy of it.",
        )
    known = asked(upstream)
    decided: dict[str, Mapping[str, object]] = {
        "defaults": policy.defaults,
        "locks": policy.locks,
        "choices": policy.choices,
    }
    for section, name in ((section, name) for section, names in decided.items() for name in names):
        if name not in known:
            raise Refused(f"{FILE}: {section}.{name} is no question of the upstream.", nearest(name, known))
        if section != "locks" and name in policy.locks:
            raise Refused(f"{FILE}: locks.{name} and {section}.{name} decide the same question.", "Keep one of them.")


def _own_names(upstream: Template, policy: Policy) -> None:
    """Refuse questions and layers that upstream has already, and what Copier does not know."""
    for name, settings in policy.questions.items():
        if name in upstream.questions():
            raise Refused(f"{FILE}: questions.{name} is a question of the upstream.", "Give it another name.")
        for setting in settings:
            if setting not in SETTINGS:
                raise Refused(
                    f"{FILE}: questions.{name}.{setting} is no setting that a question can have here.",
                    nearest(setting, SETTINGS),
                )
    layers = upstream.all_answers({})["layer"]
    for name, condition in policy.layers.items():
        if name in layers or name == ORGANIZATION:
            raise Refused(f"{FILE}: layers.{name} is a layer already.", "Give it another name.")
        _condition(upstream, policy, name, condition)


def _condition(upstream: Template, policy: Policy, name: str, condition: str) -> None:
    place = f"{FILE}: layers.{name} is {condition!r}"
    try:
        upstream.environment.compile_expression(condition)
        used = meta.find_undeclared_variables(upstream.environment.parse("{{ (" + condition + ") }}"))
    except jinja2.TemplateError as error:
        raise Refused(
            f"{place}, which is no expression of Jinja: {error}", "Such as: serving_mode == 'batch'."
        ) from error
    known = [*upstream.questions(), *policy.questions]
    for unknown in sorted(used - set(known)):
        raise Refused(f"{place}, but {unknown} is no question.", nearest(unknown, known))


def _values(upstream: Template, policy: Policy) -> None:
    """Refuse a lock, a default or a choice that upstream does not offer."""
    offered = axes(upstream)
    questions = asked(upstream)
    decided: list[tuple[str, str, Value]] = [("locks", name, value) for name, value in policy.locks.items()]
    decided += [("defaults", name, value) for name, value in policy.defaults.items() if not isinstance(value, Jinja)]
    decided += [("choices", name, value) for name, values in policy.choices.items() for value in values]
    for section, name, value in decided:
        place = f"{FILE}: {section}.{name} is {value!r}"
        if name not in offered:
            if section == "choices":
                raise Refused(f"{FILE}: choices.{name}: the question takes any text, so nothing can be left out.")
            _typed(place, kind(questions[name]), value)
        elif value not in offered[name]:
            raise Refused(f"{place}, which the upstream does not offer.", nearest(value, offered[name]))
        elif section == "defaults" and value not in policy.choices.get(name, offered[name]):
            raise Refused(f"{place}, which choices.{name} leaves out.", nearest(value, policy.choices[name]))


def _typed(place: str, wanted: str, value: Value) -> None:
    types = {"bool": bool, "int": int, "float": (int, float), "str": str}
    fits = isinstance(value, types.get(wanted, object)) and isinstance(value, bool) <= (wanted == "bool")  # type: ignore[arg-type]
    if not fits:
        raise Refused(
            f"{place}, but the question is of the type {wanted}.", 'A text that looks like a number needs "".'
        )


def _overridden(upstream: Template, policy: Policy) -> dict[str, dict[str, Any]]:
    """Return the upstream's questions about which the policy decides, as they are then."""
    found = {}
    for name, settings in asked(upstream).items():
        question = {**settings, "type": settings.get("type") or kind(settings)}
        allowed = [policy.locks[name]] if name in policy.locks else policy.choices.get(name)
        if allowed and "choices" in question:
            question |= _restricted(question, allowed)
        if name in policy.locks:
            question |= {"default": data(policy.locks[name]), "ask": False}
            if "choices" not in question:
                question["validator"] = _locked(name, policy, question.get("validator", ""))
        elif name in policy.defaults:
            question["default"] = data(policy.defaults[name])
        if question != settings:
            found[name] = question
    return found


def data(value: Value | Jinja) -> Any:
    """Return a value as Copier will read it: a text is wrapped, so that its braces are not Jinja."""
    if isinstance(value, Jinja):
        return value.jinja
    return "{{ " + literal(value) + " }}" if isinstance(value, str) else value


def literal(value: Value | list[Value]) -> str:
    """Return a value as Jinja writes it: as JSON does, with what YAML would change on the way escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)


def _locked(name: str, policy: Policy, validator: str) -> str:
    message = f"{name} is locked to {literal(policy.locks[name])} by {policy.organization.name}."
    return (
        f"{{% if {name} != {literal(policy.locks[name])} %}}\n{{{{ {literal(message)} }}}}\n{{% else %}}\n{validator}\n"
        "{% endif %}"
    )


def _restricted(question: Mapping[str, Any], allowed: list[Value]) -> dict[str, Any]:
    """Return choices and default of a question of which only some choices are allowed; their labels stay."""
    choices, default = question["choices"], question.get("default")
    if isinstance(choices, str):
        return _restricted_by_jinja(choices, default, allowed)
    rows = list(choices.items()) if isinstance(choices, dict) else choices
    kept = [row for row in rows if _value(row) in allowed]
    changed: dict[str, Any] = {"choices": dict(kept) if isinstance(choices, dict) else kept}
    if isinstance(default, str) and "{" in default:
        changed["default"] = _default_by_jinja(literal([_value(row) for row in kept]), default)
    elif default not in map(_value, kept):
        changed["default"] = _value(kept[0])
    return changed


def _value(row: Any) -> Any:
    value = row[1] if isinstance(row, (tuple, list)) else row
    return value["value"] if isinstance(value, dict) else value


def _restricted_by_jinja(choices: str, default: Any, allowed: list[Value]) -> dict[str, Any]:
    """Do the same where the choices depend on other answers, so that only Jinja knows them."""
    offered = f"{{% set offered %}}{choices}{{% endset %}}\n{{% set offered = offered | from_yaml %}}\n"
    kept = (
        "{% set kept = {} %}{% for row in offered %}"
        "{% set value = offered[row] if offered is mapping else row %}"
        f"{{% if value in {literal(allowed)} %}}{{% set _ = kept.update({{row: value}}) %}}{{% endif %}}"
        "{% endfor %}\n"
    )
    return {
        "choices": offered + kept + "{{ kept | to_json }}",
        "default": offered + kept + _default_by_jinja("(kept.values() | list)", str(default)),
    }


def _default_by_jinja(values: str, default: str) -> str:
    """Return upstream's default where it is among the values, and their first where it is not."""
    return f"{{% set usual %}}{default}{{% endset %}}\n{{{{ usual if usual in {values} else {values} | first }}}}"


def _layers(upstream: Template, policy: Policy) -> dict[str, Any]:
    """Return upstream's map of layers with the organization's own."""
    settings = upstream.questions()["layer"]
    rows = [f'{ORGANIZATION}: "."']
    rows += [f"{name}: \"{{{{ '.' if ({condition}) else '' }}}}\"" for name, condition in policy.layers.items()]
    return {**settings, "default": settings["default"].rstrip("\n") + "\n" + "\n".join(rows) + "\n"}
