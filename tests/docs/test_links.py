"""Where a page points, there is something."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import PAGES, Page, page

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LINKS = [(one, link) for one in PAGES for link in LINK.findall(one.prose)]
NAMES = {one.path.name for one in PAGES}


def anchors(one: Page) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", one.prose, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", LINK.sub("", heading).replace("`", "").lower().strip()).replace(" ", "-")
        number = next(n for n in range(100) if (f"{plain}-{n}" if n else plain) not in found)
        found.add(f"{plain}-{number}" if number else plain)
    return found


@pytest.mark.parametrize(("one", "link"), LINKS, ids=lambda value: str(value))
def test_a_link_leads_somewhere(one: Page, link: str) -> None:
    path, _, anchor = link.partition("#")
    assert "://" not in path, "the pages are read offline too"
    target = (one.path.parent / path).resolve() if path else one.path
    assert target.exists()
    if anchor:
        assert anchor in anchors(Page(target))


def test_each_page_is_linked_from_the_readme_and_links_back() -> None:
    from_readme = {link.rpartition("/")[2].partition("#")[0] for one, link in LINKS if one.path.name == "README.md"}
    assert NAMES - {"README.md"} <= from_readme
    for one in PAGES:
        if one.path.name != "README.md":
            assert [link for other, link in LINKS if other is one], f"{one} leads nowhere"


def test_the_error_about_a_template_names_a_page_that_exists() -> None:
    assert page("templates.md").path.exists()
