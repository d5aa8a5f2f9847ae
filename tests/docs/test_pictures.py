"""Pictures of the pages: each is shown somewhere, small, and says in words what is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, page
from tests.systems.needs import REPOSITORY

PICTURES = sorted((REPOSITORY / "docs" / "pictures").iterdir())
SHOWN = re.compile(r"!\[([^\]]*)\]\(pictures/([^)]+)\)")
LARGEST = 150_000


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_and_shown_once(picture: Path) -> None:
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < LARGEST
    words = [alternative for one in PAGES for alternative, name in SHOWN.findall(one.text) if name == picture.name]
    assert len(words) == 1
    assert len(words[0]) > 20


def test_the_walltime_that_the_page_changes_is_the_one_that_the_browser_types() -> None:
    from tests.browser.test_launchpad import SHORTER

    assert f"```yaml\n{SHORTER}```" in page("ui.md").text
