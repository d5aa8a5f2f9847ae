"""Arrays and dependencies."""

import pytest

from tests.local_batch.system import Batch


def states(ends: list[dict[str, object]]) -> list[object]:
    return [end["state"] for end in ends]


def test_each_element_has_its_own_index_output_and_end(batch: Batch) -> None:
    job = batch.submit(
        'echo "$LOCAL_JOB_ID/$LOCAL_ARRAY_INDEX"; [ $LOCAL_ARRAY_INDEX != 3 ] || exit 9',
        "array=1,3,7-8",
        "output=%j-%a%%.txt",
    )
    ends = batch.ended(job)
    assert [(end["id"], end["array_id"], end["index"], end["exit_code"]) for end in ends] == [
        (f"{job}_{index}", job, index, 9 if index == 3 else 0) for index in (1, 3, 7, 8)
    ]
    assert states(ends) == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    assert batch.read(f"{job}-7%.txt") == f"{job}/7\n"
    assert batch.query(f"{job}_3", f"{job}_4") == [ends[1]]


def test_the_percent_limit_holds(batch: Batch) -> None:
    body = "mkdir in.$LOCAL_ARRAY_INDEX; ls -d in.* | wc -l >> seen; sleep 0.05; rmdir in.$LOCAL_ARRAY_INDEX"
    job = batch.submit(body, "array=0-9%2", options=("--capacity-cores", "8"))
    assert set(states(batch.ended(job))) == {"COMPLETED"}
    counts = [int(line) for line in batch.read("seen").split()]
    assert (len(counts), max(counts)) == (10, 2)


def test_one_element_is_cancelled_or_all(batch: Batch) -> None:
    job = batch.submit("sleep 60", "array=0-3%2", options=("--capacity-cores", "8"))
    batch.running(f"{job}_1")
    assert batch.query(f"{job}_2")[0]["reason"] == "waits for its array, of which at most 2 run at once"
    batch.run("cancel", f"{job}_1", f"{job}_3")
    assert states(batch.ended(f"{job}_1", f"{job}_3")) == ["CANCELLED", "CANCELLED"]
    batch.running(f"{job}_2")
    assert batch.query(f"{job}_0")[0]["state"] == "RUNNING"
    batch.run("cancel", job)
    assert set(states(batch.ended(job))) == {"CANCELLED"}


@pytest.mark.parametrize(
    ("kind", "code", "end_of_second", "reason"),
    [
        ("ok", 0, "COMPLETED", None),
        ("ok", 1, "CANCELLED", "job 1 failed, so this one can never start"),
        ("any", 0, "COMPLETED", None),
        ("any", 1, "COMPLETED", None),
        ("notok", 0, "CANCELLED", "job 1 ended well, so this one can never start"),
        ("notok", 1, "COMPLETED", None),
    ],
)
def test_a_dependency_decides(batch: Batch, kind: str, code: int, end_of_second: str, reason: str | None) -> None:
    first = batch.submit(f"while [ ! -e go ]; do sleep 0.02; done; exit {code}")
    second = batch.submit("touch second", f"after={kind}:{first}")
    (held,) = batch.query(second)
    assert held["state"] == "HELD"
    hope = {"ok": "to end well", "any": "to end", "notok": "to fail"}[kind]
    assert held["reason"] == f"waits for job {first} {hope}"
    assert not (batch.root / "second").exists()
    (batch.root / "go").touch()
    end = batch.end(second)
    assert (end["state"], end["reason"]) == (end_of_second, reason)
    if end["started_at"]:
        assert end["started_at"] >= batch.end(first)["ended_at"]


def test_what_is_already_decided_at_submission_is_decided_at_once(batch: Batch) -> None:
    good, bad = batch.submit("true"), batch.submit("false")
    batch.ended(good, bad)
    runs = batch.submit("true", f"after=ok:{good},notok:{bad}")
    never = batch.submit("true", f"after=ok:{bad}")
    assert batch.query(never)[0]["state"] == "CANCELLED"
    assert batch.end(runs)["state"] == "COMPLETED"


def test_all_elements_must_end_well_for_ok(batch: Batch) -> None:
    array = batch.submit("[ $LOCAL_ARRAY_INDEX != 1 ]", "array=0-2")
    wants_all = batch.submit("true", f"after=ok:{array}")
    wants_one = batch.submit("true", f"after=ok:{array}_2")
    wants_failure = batch.submit("true", f"after=notok:{array}")
    ends = batch.ended(wants_all, wants_one, wants_failure)
    assert states(ends) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert ends[0]["reason"] == f"job {array}_1 failed, so this one can never start"


def test_a_cancelled_job_decides_for_the_whole_chain_behind_it(batch: Batch) -> None:
    first = batch.submit("sleep 60")
    second = batch.submit("true", f"after=ok:{first}")
    third = batch.submit("true", f"after=ok:{second}", "array=0-1")
    last = batch.submit("true", f"after=any:{third}")
    batch.run("cancel", second)
    assert states(batch.query(second, third)) == ["CANCELLED"] * 3
    assert batch.query(f"{third}_0")[0]["reason"] == f"job {second} was cancelled, so this one can never start"
    assert batch.end(last)["state"] == "COMPLETED"
    assert batch.query(first)[0]["state"] == "RUNNING"
