"""The page of choices, in a real browser: what it shows is what Copier renders."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from commands import choose
from commands.answer_space import Question, template
from commands.questions import Answers, asked, offers
from commands.rendering import TEMPLATE
from extensions.refusal import Refused
from tests.support.answers import covering_answers, single_answers
from tests.support.projects import shared_project
from tests.support.tools import need

OURS = template()
PROJECT = "Object.fromEntries(Array.from(page.project, ([path, file]) => [path, file.text]))"
WIDE: ViewportSize = {"width": 1300, "height": 900}
NARROW: ViewportSize = {"width": 390, "height": 800}
SOURCE = f"{TEMPLATE}"


@pytest.mark.parametrize(
    ("path", "text", "sentence"),
    [
        (
            "src/churn/problem/model.py",
            '"""The model: what is fitted. More.\n\nMore."""\n',
            "The model: what is fitted.",
        ),
        ("dvc.yaml", "# The steps,\n# and what each needs. More.\nstages: {}\n", "The steps, and what each needs."),
        ("a.sh", "#!/bin/sh\n# Installs it.\nset -e\n", "Installs it."),
        ("docs/a.md", "# Title\n\nWhat the [page](b.md) `tells`:\n\n- this\n", "What the page tells"),
        ("infra/data/versions.tf", "terraform {\n}\n", "Which versions of Terraform and of its providers."),
        ("action.yml", "name: x\ndescription: Installs Terraform.\n", "Installs Terraform."),
        ("tests/__init__.py", "", "Makes the folder a package."),
    ],
)
def test_the_sentence_about_a_file_is_its_own_first(path: str, text: str, sentence: str) -> None:
    assert choose.about(path, text) == sentence


def test_a_file_that_says_nothing_of_itself_is_refused() -> None:
    with pytest.raises(Refused, match=r"settings\.yml does not say what it is for"):
        choose.about("settings.yml", "a: 1\n")


def test_every_file_says_what_it_is_for() -> None:
    files: dict[str, bytes] = {}
    for given in single_answers().values():
        files |= {path: file.content for path, file in OURS.render(OURS.all_answers(given)).items()}
    for path, content in files.items():
        assert choose.about(path, content.decode()).strip(), path


def test_what_makes_no_difference_is_left_out() -> None:
    found: dict[tuple[str, ...], Any] = {("1", "a"): "x", ("2", "a"): "x", ("1", "b"): "y"}  # (2, b) cannot be chosen
    assert choose.reduce(["number", "letter"], found) == (["letter"], {("a",): "x", ("b",): "y"})


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of the page, which one process makes."""
    return shared_project(
        tmp_path_factory, "choose.html", lambda path: path.write_text(choose.page(OURS, SOURCE), encoding="utf-8")
    ).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=need("chromium"), args=quiet)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Yield the page, opened; nothing may go wrong on it, and nothing may be fetched."""
    yield from opened(browser, address, viewport=WIDE)


def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    context = browser.new_context(**options)
    found, wrong, fetched = context.new_page(), list[str](), list[str]()
    found.on("pageerror", lambda error: wrong.append(str(error)))
    found.on("console", lambda message: wrong.append(message.text))
    found.on("request", lambda request: fetched.append(request.url))
    found.goto(address)
    found.wait_for_function("window.page")
    yield found
    assert wrong == []
    assert {each for each in fetched if not each.startswith("blob:")} == {address.partition("#")[0]}
    context.close()


@pytest.mark.slow
def test_it_shows_what_is_rendered(page: Page) -> None:
    """Every pair of choices occurs. The renderer is held equal to Copier by test_answer_space.py."""
    for given in covering_answers():
        page.evaluate("answers => { page.wanted = answers; page.show(); }", given)
        answers = OURS.all_answers(given)
        chosen = page.evaluate("page.answers")
        assert chosen == {name: answers[name] for name in chosen}
        shown = page.evaluate(PROJECT)
        shown.pop(OURS.answers_file)
        assert shown == {path: file.content.decode() for path, file in OURS.render(answers).items()}, given
        assert offered(page) == what_copier_offers(answers), given
        besides = page.locator("#asked dt").all_text_contents()
        assert besides == [
            settings["help"] for name, settings in asked(OURS).items()
            if name not in chosen and Question(OURS, name, settings).asked(answers)
        ]  # fmt: skip


def offered(page: Page) -> dict[str, list[str]]:
    """Return what can be chosen on the page, by question."""
    found: dict[str, list[str]] = {}
    for field in page.locator("input[type=radio]").all():
        found.setdefault(field.get_attribute("name") or "", []).append(field.get_attribute("value") or "")
    return found


def what_copier_offers(answers: Answers) -> dict[str, list[str]]:
    found = {}
    for name, settings in asked(OURS).items():
        question = Question(OURS, name, settings)
        values = offers(question, answers) if question.asked(answers) else None
        if values:
            found[name] = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    return found


@pytest.mark.slow
def test_its_command_makes_the_project(page: Page, tmp_path: Path) -> None:
    page.get_by_label("By runs that score tables").check()
    page.get_by_label("GitLab, with").check()
    page.get_by_label("An amount").check()
    expect(page.locator("input[name=primary_metric]:checked")).to_have_value("mean_absolute_error")
    words = shlex.split(page.locator("#command").inner_text().replace("\\\n", ""))
    assert words[:3] == ["uvx", "copier", "copy"]
    assert words[-2:] == [SOURCE, "my-project"]
    options = ["--defaults", "--quiet", "--vcs-ref=HEAD"]
    command = [sys.executable, "-m", "copier", "copy", *options, *words[3:]]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made = tmp_path / "my-project"
    paths = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert paths == set(page.evaluate("Array.from(page.project.keys())"))


@pytest.mark.slow
def test_it_can_be_used_by_keyboard_and_sent_as_an_address(page: Page, browser: Browser) -> None:
    page.keyboard.press("Tab")  # the link to Copier
    page.keyboard.press("Tab")
    expect(page.locator("input[name=problem_type]:checked")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("input[name=problem_type]:checked")).to_have_value("regression")
    expect(page.locator("input[name=problem_type]:checked")).to_be_focused()
    expect(page.locator("input[name=primary_metric][value=roc_auc]")).to_have_count(0)
    expect(page.locator("#count")).to_contain_text("By this choice")
    button = page.get_by_role("button", name="params.yaml")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="params.yaml")).to_be_focused()
    expect(page.locator("#file code")).to_contain_text("mean_absolute_error")
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    for again in opened(browser, page.url):
        expect(again.locator("input[name=problem_type]:checked")).to_have_value("regression")


@pytest.mark.slow
def test_what_does_not_exist_cannot_be_chosen(page: Page) -> None:
    page.get_by_label("A Kubernetes cluster").check()
    page.locator("input[name=with_kserve][value=true]").check()
    page.get_by_label("By runs that score tables").check()
    expect(page.locator("input[name=with_kserve]")).to_have_count(0)
    expect(page.locator("#command")).not_to_contain_text("with_kserve")


@pytest.mark.slow
@pytest.mark.parametrize(("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_it_can_be_read_wide_and_narrow_bright_and_dark(
    viewport: ViewportSize, scheme: str, browser: Browser, address: str
) -> None:
    for page in opened(browser, address, viewport=viewport, color_scheme=scheme):
        page.get_by_role("button", name="pyproject.toml").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], "nothing is cut off"
        for selector in ("body", ".card label", "#tree .said", "#tree button", "#count"):
            assert contrast(page, selector) >= 4.5, f"{selector}, by WCAG 2.2, 1.4.3"
        columns = page.evaluate("getComputedStyle(document.querySelector('main')).gridTemplateColumns").split()
        assert len(columns) == (2 if viewport == WIDE else 1)


def contrast(page: Page, selector: str) -> float:
    """Return the ratio of luminances between a text and what is behind it, 1 to 21, as WCAG 2.2 defines it."""
    colours = page.evaluate(
        """selector => {
          const element = document.querySelector(selector);
          let behind = element;
          while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
          return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
        }""",
        selector,
    )
    bright = sorted(luminance(colour) for colour in colours)
    return (bright[1] + 0.05) / (bright[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
