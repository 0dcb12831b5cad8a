"""Pages: the engine's templates, and the project's own in their place."""

from __future__ import annotations

import pytest
from twoloops import pages
from twoloops.errors import ProjectError

from tests.engine.support.project import Project


def test_a_project_may_give_a_page_another_look(bare_project: Project) -> None:
    own = bare_project.folder / pages.OWN / "model_card.md.j2"
    own.parent.mkdir(parents=True)
    own.write_text("# {{ package }} by us\n", encoding="utf-8")
    assert pages.render("model_card.md", package="churn") == "# churn by us\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [("{{ verdikt }}", "'verdikt' is undefined"), ("a\n{% for %}", r"\(line 2\)"), ("{{ package | loud }}", "loud")],
)
def test_a_wrong_template_is_told_with_its_place(bare_project: Project, text: str, words: str) -> None:
    own = bare_project.folder / pages.OWN / "model_card.md.j2"
    own.parent.mkdir(parents=True)
    own.write_text(text, encoding="utf-8")
    with pytest.raises(ProjectError, match=words) as raised:
        pages.render("model_card.md", package="churn")
    assert "docs/pages/model_card.md.j2" in raised.value.hint


def test_html_is_escaped_and_markdown_tables_stay_whole(bare_project: Project) -> None:
    own = bare_project.folder / pages.OWN
    own.mkdir(parents=True)
    (own / "x.html.j2").write_text("<p>{{ name }}</p>", encoding="utf-8")
    assert pages.render("x.html", name="<b>") == "<p>&lt;b&gt;</p>"
    (own / "x.md.j2").write_text("| {{ name | cell }} |", encoding="utf-8")
    assert pages.render("x.md", name="<b> a|b") == r"| <b> a\|b |"
    assert pages.table(["a"], [[None], [0.123456]]) == ["| a |", "| --- |", "|  |", "| 0.1235 |"]
