"""policy.yaml: each mistake is told with its place, its value, and the nearest right name."""

from __future__ import annotations

from pathlib import Path

import pytest

from extensions.organization.policy import load, parse
from extensions.refusal import Refused

GOOD = """\
organization: {name: Test Ltd, slug: test}
upstream: {source: ., version: v1.0.0}
version: 1.0.0
"""


def refused(text: str) -> str:
    with pytest.raises(Refused) as refusal:
        parse(text)
    return refusal.value.message


def test_a_policy_may_decide_nothing() -> None:
    assert parse(GOOD).tag == "v1.0.0"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lock: {}", ["lock is not known", "Did you mean locks?"]),
        ("defaults: {owner: {jinj: x}}", ["defaults.owner.jinj is not known", "Did you mean jinja?"]),
        ("defaults: {owner: [a]}", ["defaults.owner is ['a']", "a text, a number, true or false"]),
        ("defaults: {Owner: a}", ["defaults.Owner is 'Owner'", "lower-case letters"]),
        ("locks: {owner: {jinja: x}}", ["locks.owner is {'jinja': 'x'}", "a text, a number"]),
        ("choices: {license: [mit]}", ["choices.license is ['mit']", "Put it under locks"]),
        ("questions: {_tasks: {default: x}}", ["questions._tasks", "lower-case letters"]),
        ("replaces: {a: b}", ["replaces.a is 'b'", "SHA-256"]),
        ("defaults: {a: b, a: c}", ["no YAML", "duplicate key"]),
        ("defaults: [", ["no YAML", "line"]),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, told: list[str]) -> None:
    message = refused(GOOD + text)
    for part in told:
        assert part in message


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("version: 1.0.0\n", "version: 1.0\n", "version is 1.0, but has to be a text: write it in quotes"),
        ("version: v1.0.0", "version: main", "upstream.version is 'main', but has to be a release's tag"),
        ("source: .", "source: --upload-pack=x", "upstream.source is '--upload-pack=x'"),
        ("name: Test Ltd", r'name: "a\nb"', "organization.name is 'a\\nb'"),
        ("name: Test Ltd, slug", "nam: Test Ltd, slug", "organization.nam is not known. Did you mean name?"),
        ("slug: test", "slug: ../x", "organization.slug is '../x'"),
        ("organization: {name: Test Ltd, slug: test}\n", "", "organization is missing"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(old: str, new: str, told: str) -> None:
    assert old in GOOD
    assert told in refused(GOOD.replace(old, new))


@pytest.mark.parametrize("text", ["", "- a", "text", "null"])
def test_what_is_no_policy_at_all_is_refused(text: str) -> None:
    assert "policy.yaml" in refused(text)


def test_a_folder_without_a_policy_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        load(tmp_path)
    assert "policy.yaml" in refusal.value.message
    assert "organization init" in refusal.value.hint


def test_a_policy_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: {contact: 'https://me:token@index.example/simple'}",
        "locks: {contact: 'https://token@index.example/simple'}",
        "questions: {package_index: {type: str, default: 'https://me:token@index.example/simple', ask: false}}",
    ],
)
def test_a_token_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    message = refused(GOOD + text)
    assert "password or token: https://...@index.example/simple" in message
    assert "token@" not in message
    assert "token@" not in refused(GOOD.replace("source: .", "source: 'https://me:token@h.example/x'"))
