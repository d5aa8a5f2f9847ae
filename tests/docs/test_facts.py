"""What the pages of docs/systems say of each system: every fact has its source and a test that holds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "systems").glob("*.md"))
SOURCES = re.compile(r"(verified by us|recorded|reported|documents only)\b")
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))


def facts(page: Path) -> list[list[str]]:
    """The rows of the table below `## Facts`: fact, source, test."""
    _, _, section = page.read_text().partition("\n## Facts\n")
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_of_a_system_has_a_table_of_facts(page: Path) -> None:
    rows = facts(page)
    assert len(rows) >= 5
    assert all(len(row) == 3 for row in rows), [row for row in rows if len(row) != 3]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fact_has_a_source_and_a_report_its_date(page: Path) -> None:
    for fact, source, _ in facts(page):
        assert SOURCES.match(source), (fact, source)
        if source.startswith("reported"):
            assert re.search(r"\b20\d\d\b", source), (fact, source)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_fact_names_a_test_that_there_is(page: Path) -> None:
    for fact, _, test in facts(page):
        named = re.findall(r"`(test_\w+)(?:\[[^\]`]*\])?`", test)
        assert named, fact
        assert [name for name in named if f"def {name}(" not in TESTS] == [], fact
