"""Metadata stays readable: of ten thousand elements, of megabytes of logs, and of jobs that print what they like."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dagster_hpc import HPCError, JobFailed, JobHandle, JobMetrics, JobResult, JobState, array_metadata, job_metadata
from dagster_hpc.dagster_values import code, failure, json_value, script, table, text, timestamp

HOSTILE = [
    "](javascript:alert(1))",
    "![x](https://example.org/pixel.png)",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "```\n# out of the fence\n```",
    "~~~\n````\n[link](data:text/html,x)",
    "\x1b[31mred\x1b[0m\x07\x00",
    "\u202etxt.exe",
    "half \udc00",
    "| a | b |\n|---|---|",
    "&lt;b&gt;",
    "export DB_PASSWORD=hunter2",
]
ANY_TEXT = st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE), st.lists(st.sampled_from(HOSTILE)).map("".join))
MOMENT = st.none() | st.floats() | st.floats(1.7e9, 1.8e9)


def element(place: int, *, failed: bool = False, **more: Any) -> JobResult:
    begun = 1.7e9 + place % 500
    metrics = JobMetrics(
        queue_wait_s=10.0, elapsed_s=5.0 + place % 7, node_hours=0.25, submitted_at=1.7e9,
        started_at=begun, ended_at=begun + 5 + place % 7, raw={"JobID": f"42_{place}"},
    )  # fmt: skip
    given: dict[str, Any] = {
        "exit_code": 3 if failed else 0, "reason": "the disk is full" if failed else "", "metrics": metrics,
        "stderr_tail": "no space left on device" if failed else "", "script": "#!/bin/bash\n" + "true\n" * 50_000,
    }  # fmt: skip
    handle = JobHandle(f"abcd2345.{place}", f"42_{place}", f"/scratch/x/abcd2345/{place}", "slurm", "x")
    state = JobState.FAILED if failed else JobState.COMPLETED
    return JobResult(handle, state, **{"index": place, **given, **more})


def as_stored(metadata: Mapping[str, dg.MetadataValue]) -> str:
    """What the event log keeps; nothing in it that the UI could not read."""
    stored = dg.serialize_value(dg.AssetMaterialization("x", metadata=metadata))
    assert "NaN" not in stored
    assert "Infinity" not in stored
    stored.encode()
    return stored


def markdown_of(value: dg.MetadataValue) -> str:
    assert isinstance(value, dg.MarkdownMetadataValue)
    return str(value.value)


@pytest.fixture(scope="module")
def ten_thousand() -> list[JobResult]:
    return [element(place, failed=place % 100 == 7) for place in range(10_000)]


def test_ten_thousand_elements_are_one_page(ten_thousand: list[JobResult]) -> None:
    keys = [f"2024|{place}" for place in range(10_000)]
    begun = time.process_time()
    metadata = array_metadata(ten_thousand, keys)
    assert time.process_time() - begun < 5
    told = {name: value.value for name, value in metadata.items()}
    assert (told["jobs"], told["failed"], told["states"]) == (10_000, 100, {"COMPLETED": 9900, "FAILED": 100})
    assert told["node_hours"] == 2500
    assert told["work_dir"] == "/scratch/x/abcd2345"
    assert told["longest_element"] == keys[9_995]
    assert "no space left" in str(told["stderr_tail"])
    assert len(as_stored(metadata)) < 200_000


def test_the_first_that_failed_are_named_with_their_partition_and_directory(ten_thousand: list[JobResult]) -> None:
    found = array_metadata(ten_thousand, [f"p{place}" for place in range(10_000)])["failed_elements"]
    assert isinstance(found, dg.TableMetadataValue)
    rows = [dict(record.data) for record in found.records]
    assert [row["element"] for row in rows] == list(range(7, 2_007, 100))
    assert rows[1] == {
        "element": 107, "partition": "p107", "state": "FAILED", "exit_code": 3, "reason": "the disk is full",
        "elapsed_s": 7.0, "job_id": "42_107", "work_dir": "/scratch/x/abcd2345/107",
    }  # fmt: skip


def test_where_nothing_failed_nothing_is_said_of_failures() -> None:
    metadata = array_metadata([element(0), element(1)])
    assert metadata["failed"].value == 0
    assert metadata["failed_elements"] == metadata["stderr_tail"] == dg.MetadataValue.null()


def test_an_array_of_nothing_has_metadata_too() -> None:
    assert array_metadata([])["jobs"].value == 0


def test_the_timeline_is_a_small_picture_of_many_and_nothing_of_few(ten_thousand: list[JobResult]) -> None:
    assert array_metadata(ten_thousand[:3])["timeline"] == dg.MetadataValue.null()
    for results in (ten_thousand[:20], ten_thousand):
        shown = markdown_of(array_metadata(results)["timeline"])
        assert shown.startswith("![When each element waited and ran](data:image/png;base64,")
        assert len(shown) < 100_000


def test_without_matplotlib_there_is_no_timeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_hpc.timeline.find_spec", lambda name: None)
    assert array_metadata([element(place) for place in range(20)])["timeline"] == dg.MetadataValue.null()


def test_elements_show_less_of_the_script_that_they_share() -> None:
    alone, one_of_many = (len(str(job_metadata(element(0, index=index))["script"].value)) for index in (None, 0))
    assert one_of_many < 5_000 < alone < 25_000


def test_of_a_long_script_directives_and_command_are_shown() -> None:
    shown = str(script("#SBATCH --nodes=2\n" + "# comment\n" * 10_000 + "./simulate\n").value)
    assert "#SBATCH --nodes=2" in shown
    assert "./simulate" in shown


@settings(max_examples=60)
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT, MOMENT, st.none() | st.floats(), st.dictionaries(ANY_TEXT, ANY_TEXT, max_size=5))
def test_whatever_a_job_says_is_shown_and_does_nothing(
    reason: str, log: str, name: str, moment: float | None, figure: float | None, raw: dict[str, str]
) -> None:
    metrics = JobMetrics(elapsed_s=figure, node_hours=figure, node_list=name, submitted_at=moment, started_at=moment,
                         ended_at=moment, raw=raw)  # fmt: skip
    results = [
        element(place, failed=True, reason=reason, stdout_tail=log, stderr_tail=log, script=log, metrics=metrics,
                outputs={name: log}, queue=name, project=name)
        for place in range(3)
    ]
    for metadata in (job_metadata(results[0]), array_metadata(results, [name] * 3)):
        stored = as_stored(metadata)
        assert "hunter2" not in stored
        assert "\\u001b" not in stored
        for value in metadata.values():
            assert_harmless(value)


def assert_harmless(value: dg.MetadataValue) -> None:
    """A Markdown value is one block of code, or one picture of ours; all else is shown by Dagster as plain text."""
    assert not isinstance(value, dg.UrlMetadataValue)
    if isinstance(value, dg.MarkdownMetadataValue):
        kinds = [token.type for token in MarkdownIt().parse(markdown_of(value))]
        assert kinds == ["fence"], markdown_of(value)


@pytest.mark.parametrize("said", HOSTILE)
def test_code_keeps_hostile_text_inside_its_fence(said: str) -> None:
    (block,) = MarkdownIt().parse(markdown_of(code(f"before\n{said}\nafter")))
    assert block.type == "fence"
    assert block.content.startswith("before\n")
    assert block.content.endswith("after\n")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
))  # fmt: skip
def test_json_is_always_one_that_the_ui_can_read(value: Any) -> None:
    shown = json_value([value]).value
    json.dumps(shown, allow_nan=False).encode()
    assert "hunter2" not in str(shown)


def test_json_is_bounded_in_width_depth_and_words() -> None:
    deep: Any = "x"
    for _ in range(1_000):
        deep = {"a": [deep]}
    wide = {"deep": deep, "long": "x" * 10**6, **{str(number): list(range(10_000)) for number in range(1_000)}}
    shown = json_value(wide).value
    assert isinstance(shown, dict)
    assert shown["…"] == "802 more"
    assert len(json.dumps(shown)) < 400_000


def test_fields_with_the_names_of_secrets_are_masked_in_what_the_scheduler_reported() -> None:
    reported = {"API_KEY": "hunter2", "env": {"DB_PASSWORD": ["hunter2"]}, "Variable_List": "A_TOKEN=hunter2,B=1"}
    shown = {"API_KEY": "***", "env": {"DB_PASSWORD": "***"}, "Variable_List": "A_TOKEN=***,B=1"}
    assert json_value(reported).value == shown


def test_texts_and_cells_are_bounded() -> None:
    long = "node[" + "1,2," * 10_000 + "3]"
    assert len(str(text(long).value)) < 2_100
    shown = table([{"nodes": long}])
    assert isinstance(shown, dg.TableMetadataValue)
    assert len(str(shown.records[0].data["nodes"])) < 600


@pytest.mark.parametrize("moment", [math.nan, math.inf, -math.inf, 1e300, None])
def test_a_moment_that_is_none_is_null(moment: float | None) -> None:
    assert timestamp(moment) == dg.MetadataValue.null()


def test_the_sentence_of_a_failure_is_bounded_and_masked_like_all_else() -> None:
    log = "\n".join(["x" * 10_000] * 30 + ["\x1b[31mlogin with --password hunter2 failed"])
    raised = failure(JobFailed(element(0, failed=True, stderr_tail=log)))
    assert isinstance(raised.description, str)
    assert len(raised.description) < 9_000
    assert "login with --password *** failed" in raised.description
    assert raised.description.startswith("x (job 42_0 on slurm")
    assert failure(HPCError("short")).description == "short"
