"""From what jobs say to what Dagster takes: complete, checked, each asset and check once."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from dagster_hpc.pipes.messages import JobMessages
from dagster_hpc.pipes.reports import PipesReportFaulty, reported
from dagster_hpc.pipes.streaming import Voice


def said(method: str, **params: Any) -> dict[str, Any]:
    return {"method": method, "params": params}


def values(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value["raw_value"] for name, value in message["params"]["metadata"].items()}


def test_what_is_said_again_of_an_asset_adds_to_what_was_said() -> None:
    (one,) = reported(
        [
            said("opened"),
            said("report_asset_materialization", metadata={"a": 1, "b": 1}, data_version="1"),
            said("report_asset_materialization", asset_key="energy", metadata={"b": 2}),
            said("closed"),
        ],
        ["energy"],
    )
    assert (values(one), one["params"]["data_version"], one["params"]["asset_key"]) == ({"a": 1, "b": 2}, "1", "energy")


def test_of_a_check_the_last_word_counts() -> None:
    (one,) = reported(
        [said("report_asset_check", check_name="sound", passed=passed) for passed in (False, True)], ["energy"]
    )
    assert (one["params"]["passed"], one["params"]["severity"]) == (True, "ERROR")


def test_every_custom_message_counts() -> None:
    assert len(reported([said("report_custom_message", payload=1)] * 2, [])) == 2


def test_values_that_the_ui_cannot_read_are_null_and_objects_are_json() -> None:
    metadata = {"nan": float("inf"), "typed": {"raw_value": float("nan"), "type": "float"}, "list": [1], "object": {"a": 1}}
    (one,) = reported([said("report_asset_materialization", metadata=metadata)], ["energy"])
    kinds = {name: (value["type"], value["raw_value"]) for name, value in one["params"]["metadata"].items()}
    assert kinds == {"nan": ("null", None), "typed": ("null", None), "list": ("json", [1]), "object": ("json", {"a": 1})}


@pytest.mark.parametrize(
    ("message", "assets", "words"),
    [
        (said("report_asset_materialization"), ["a", "b"], "the assets of this step are: a, b"),
        (said("report_asset_materialization", asset_key=7), ["a"], "of the asset 7; the assets of this step are: a"),
        (said("report_asset_materialization", metadata=[1]), ["a"], "metadata that are no object"),
        (said("report_asset_check", check_name="x", passed="yes"), ["a"], "passed 'yes'"),
        (said("report_asset_check", check_name="x", passed=True, severity="FATAL"), ["a"], "severity 'FATAL'"),
        (said("report_everything"), ["a"], "'report_everything', which Dagster Pipes does not know"),
    ],
)
def test_what_dagster_cannot_take_is_said_in_a_sentence(message: dict[str, Any], assets: list[str], words: str) -> None:
    with pytest.raises(PipesReportFaulty) as raised:
        reported([message], assets)
    assert words in str(raised.value)


class Told(JobMessages):
    """A job that says this."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.lives, self.messages = 1, list(messages)

    def look(self) -> list[dict[str, Any]]:
        return self.messages


def test_log_lines_keep_their_level_and_say_which_element_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    logged: list[tuple[str, str]] = []

    class Log:
        def log(self, level: str, message: str) -> None:
            logged.append((level, message))

        def warning(self, message: str) -> None:
            logged.append(("WARNING", message))

    job = Told(
        said("log", message="careful", level="WARNING"),
        said("log", message="odd", level="LOUD"),
        said("log_external_stream", stream="stdout", text="printed\n"),
        said("report_custom_message", payload=1),
    )
    log: dg.DagsterLogManager = Log()  # type: ignore[assignment]

    voice = Voice(job, log, "[3] ")
    assert voice.listen()
    assert logged == [("WARNING", "[3] careful"), ("INFO", "[3] odd")]
    assert capsys.readouterr().out == "[3] printed\n"

    job.lives, job.messages = 2, []
    assert not voice.listen()
    assert logged[-1] == ("WARNING", "[3] the job was started again; what it had reported before is dropped")
