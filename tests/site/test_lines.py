"""Every key of a TOML text is found on the line where it stands."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.site.lines import Path, lines_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = '''\
# a site
work_root = "/scratch"   # not = this

[targets.cluster]
kind = "slurm"
"queue.cpu" = 'a = "b"'
executable_map.bitcount = "/apps/bitcount"
note = """
fake = 1
[fake]
ends with quotes: """""
modules = [
    "gcc", # one
    "openmpi",
]

[[retry]]
on = ["OOM"]
[retry.more]
x = {a = 1, b = [2, {c = 3}]}
[[retry]]
on = ["TIMEOUT"]
"'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("work_root",), 2),
        (("targets",), 4),
        (("targets", "cluster"), 4),
        (("targets", "cluster", "kind"), 5),
        (("targets", "cluster", "queue.cpu"), 6),
        (("targets", "cluster", "executable_map"), 7),
        (("targets", "cluster", "executable_map", "bitcount"), 7),
        (("targets", "cluster", "note"), 8),
        (("targets", "cluster", "modules"), 12),
        (("targets", "cluster", "modules", 1), 14),
        (("retry",), 17),
        (("retry", 0, "on"), 18),
        (("retry", 0, "more", "x", "b", 1, "c"), 20),
        (("retry", 1), 21),
        (("retry", 1, "on"), 22),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_a_key_is_found_on_its_line(path: Path, line: int) -> None:
    assert lines_of(TEXT.rstrip('"'))[path] == line


# -- whatever the text: the same keys as tomllib finds, each on a line that shows it

BARE = st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True)
QUOTED = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\\\"'"), max_size=5)
BASIC, LITERAL = (st.builds(form.format, QUOTED) for form in ('"{}"', "'{}'"))
STRINGS = st.one_of(
    BASIC,
    LITERAL,
    st.builds('"""\n{}\n[no = table]\n# {}"""'.format, QUOTED, QUOTED),
    st.builds("'''{}\nkey = \"{}\"'''".format, QUOTED, QUOTED),
    st.sampled_from(['""', "''", '""""""', '"""a"""""', "''''a''''", r'"\""', r'"a\\"']),
)
SCALARS = st.one_of(STRINGS, st.sampled_from(["1", "-2.5e3", "true", "1979-05-27 07:32:00Z", "0xff"]))
GAP = st.sampled_from(["", " ", "\n", " # ] } = \n", "\n\n  "])


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    element = st.builds("{}{}{}".format, GAP, values, GAP)
    return st.builds(lambda elements, comma: f"[{','.join(elements)}{comma if elements else ''}]",
                     st.lists(element, max_size=3), st.sampled_from(["", ",", ",\n"]))  # fmt: skip


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(BARE, values), max_size=3, unique_by=lambda pair: pair[0])
    return pairs.map(lambda some: "{ " + ", ".join(f"{key} = {value}" for key, value in some) + " }")


ONE_LINE = st.sampled_from(["1", '"} ]"', "[1, 2]", "{a.b = 1}"])
VALUES = st.one_of(SCALARS, arrays(st.one_of(SCALARS, inline_tables(ONE_LINE))), inline_tables(ONE_LINE))
KEYS = st.one_of(BARE, BASIC, LITERAL)
DOTTED = st.lists(KEYS, min_size=1, max_size=3).map(" . ".join)
STATEMENTS = st.one_of(
    st.builds("{} = {}".format, DOTTED, VALUES),
    st.builds("[{}]".format, DOTTED),
    st.builds("[[{}]]".format, DOTTED),
    st.just("# [nothing] = 1"),
)
TEXTS = st.lists(st.builds("{}{}".format, st.sampled_from(["", "\n", "  "]), STATEMENTS), max_size=12).map("\n".join)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Everything in it that has a name or a number."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*path, key)
        yield from paths(each, (*path, key))


@given(TEXTS)
def test_the_keys_are_those_that_tomllib_finds_and_stand_on_their_lines(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines, shown = lines_of(text), text.split("\n")

    assert set(lines) == set(paths(values))
    named = {path: line for path, line in lines.items() if isinstance(path[-1], str)}
    assert all(str(path[-1]) in shown[line - 1] for path, line in named.items())


@given(TEXTS)
def test_windows_line_ends_change_nothing(text: str) -> None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert lines_of(text.replace("\n", "\r\n")) == lines_of(text)
