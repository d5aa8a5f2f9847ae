"""Flux, from what a real one answered (tests/transcripts/flux)."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand, Finding
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.errors import CapacityReached, ConfigurationError, SchedulerUnavailable, SubmitRefused
from dagster_hpc.engine.hosts.base import command_environment
from dagster_hpc.engine.job import Dependency, JobSpec, JobState, JobStatus
from dagster_hpc.engine.schedulers.base import Room
from dagster_hpc.engine.schedulers.flux.replies import decimal_id
from dagster_hpc.engine.schedulers.flux.requests import Flux
from dagster_hpc.engine.schedulers.flux.words import worth_telling
from dagster_hpc.engine.script import command_words, render_script
from tests.simulators.flux import f58
from tests.transcripts import names, transcript

FLUX = Flux()
SPEC = JobSpec(name="bits", executable="/bin/true", walltime_s=90)


def answer(name: str) -> Answer:
    return transcript("flux", name)


def shown(name: str) -> JobStatus:
    (status,) = FLUX.read_queue(answer(name)).jobs.values()
    return status


def directives(spec: JobSpec, directory: str = "/jobs/x") -> dict[str, str]:
    script = render_script(spec, FLUX, directory=directory, token="abcd2345")
    lines = [line.removeprefix("# flux: ") for line in script.splitlines() if line.startswith("# flux: ")]
    return {option: value for option, _, value in (word.partition("=") for line in lines for word in shlex.split(line))}


# -- ids


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("ƒ9aywmAw", "326853722112"),  # flux job id --to=dec
        ("f9aywmAw", "326853722112"),
        ("326853722112", "326853722112"),
        ("ƒ9fE3hxB", "329638739968"),
        ("ƒADQa7kP", "350761254916"),
        ("ƒ4fr", "12345"),
        ("ƒ1", "0"),
        ("ƒ", None),
        ("f0", None),  # not a digit of base 58
        ("fO", None),
        ("ƒjpXCZedGfVR", None),  # more than 64 bits
        ("abc", None),
        ("٣", None),
        ("", None),
    ],
)
def test_ids_become_decimal(text: str, decimal: str | None) -> None:
    assert decimal_id(text) == decimal


@given(st.integers(0, 2**64 - 1), st.sampled_from("ƒf"))
def test_every_id_comes_back(number: int, prefix: str) -> None:
    assert decimal_id(f58(number, prefix)) == str(number)


@given(st.text())
def test_nothing_else_is_an_id(text: str) -> None:
    found = decimal_id(text)
    assert found is None or found.isdigit()


def test_the_ids_of_the_list_are_the_same() -> None:
    records = json.loads(answer("jobs_a_json").stdout)["jobs"]
    assert all(decimal_id(record["jobid"]) == str(record["id"]) for record in records)


# -- submit


@pytest.mark.parametrize(
    ("name", "job_id"),
    [("submit_ok", "326853722112"), ("submit_asciiid", "864026624000"), ("submit_langC", "ƒPbU8Ahd")],
)
def test_the_id_is_taken_in_either_spelling(name: str, job_id: str) -> None:
    assert FLUX.read_submit(answer(name)) == decimal_id(job_id)


def test_a_banner_does_not_hide_the_id() -> None:
    banner = f"*** maintenance on Friday ***\n{answer('submit_ok').stdout}thank you for 12 jobs\n"
    assert FLUX.read_submit(Answer(("flux", "batch"), 0, banner, "")) == "326853722112"


REFUSED = ["dep_on_failed", *(name for name in names("flux", "err_") if name != "err_n0")]


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_permanent_and_quotes_flux(name: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        FLUX.read_submit(answer(name))
    assert answer(name).stderr.strip() in str(refused.value)
    assert refused.value.advice


@pytest.mark.parametrize(
    ("name", "advice"), [("err_queue", "queue_cpu"), ("err_dep", "depends"), ("err_time", "walltime")]
)
def test_a_refusal_says_what_to_correct(name: str, advice: str) -> None:
    with pytest.raises(SubmitRefused) as refused:
        FLUX.read_submit(answer(name))
    assert advice in refused.value.advice


@pytest.mark.parametrize(
    "lost",
    [answer("down_submit"), Answer(("flux",), 0, "", ""), Answer(("flux",), None, "", "")],
    ids=["broker gone", "no id", "no end"],
)
def test_an_answer_that_proves_nothing_leaves_the_submission_open(lost: Answer) -> None:
    with pytest.raises(SchedulerUnavailable):
        FLUX.read_submit(lost)


# -- states and ends


@pytest.mark.parametrize(
    ("name", "state", "exit_code", "signal", "word"),
    [
        ("json_run", JobState.RUNNING, None, None, ""),
        ("json_depfail", JobState.HELD, None, None, "after-success=ƒ9vnvAaB"),
        ("json_ok", JobState.COMPLETED, 0, None, ""),
        ("json_fail3", JobState.FAILED, 3, None, ""),
        ("json_segv", JobState.FAILED, None, 11, "SIGSEGV"),
        ("json_big", JobState.FAILED, None, None, "could not be started (alloc: unsatisfiable request"),
        ("json_depfail_after", JobState.CANCELLED, None, None, "could never start: what it depends on did not end"),
        ("documented_jobs_node_failure", JobState.NODE_FAIL, None, None, "lost contact"),
        ("documented_jobs_canceled", JobState.CANCELLED, None, None, "cancel"),
        ("documented_jobs_signal", JobState.FAILED, None, 9, "SIGKILL"),
    ],
)
def test_a_single_job(name: str, state: JobState, exit_code: int | None, signal: int | None, word: str) -> None:
    # one id asked for: the answer is the job itself and no list
    status = shown(name)
    assert (status.state, status.exit_code, status.signal) == (state, exit_code, signal)
    assert word in status.reason


def test_the_list_of_all() -> None:
    jobs = FLUX.read_queue(answer("jobs_a_json")).jobs
    by_name = {status.job_name: status for status in jobs.values()}
    assert by_name["held"].state is JobState.HELD
    assert "urgency 0" in by_name["held"].reason
    assert (by_name["tmo"].state, by_name["tmo"].exit_code) == (JobState.TIMEOUT, None)
    assert "resource allocation expired" in by_name["tmo"].reason
    assert (by_name["nocmd"].state, by_name["nocmd"].exit_code) == (JobState.FAILED, 127)
    assert "No such file or directory" in by_name["nocmd"].reason
    assert by_name["ジョブ é/x"].state is JobState.COMPLETED
    assert {status.state for status in jobs.values()} <= set(JobState) - {JobState.UNKNOWN}


def with_state(**keys: object) -> JobStatus:
    record = {"id": 7, "name": "x", **keys}
    (status,) = FLUX.read_queue(Answer(("flux",), 0, json.dumps(record), "")).jobs.values()
    return status


@pytest.mark.parametrize(
    ("keys", "state"),
    [
        ({"state": "DEPEND"}, JobState.HELD),
        ({"state": "PRIORITY"}, JobState.PENDING),
        ({"state": "SCHED"}, JobState.PENDING),
        ({"state": "SCHED", "urgency": 0}, JobState.HELD),
        ({"state": "RUN"}, JobState.RUNNING),
        ({"state": "CLEANUP"}, JobState.RUNNING),
        ({"state": "HIBERNATE"}, JobState.UNKNOWN),
        ({}, JobState.UNKNOWN),
        ({"state": "INACTIVE", "result": "COMPLETED", "returncode": 0}, JobState.COMPLETED),
        ({"state": "INACTIVE", "result": "COMPLETED", "returncode": 1}, JobState.UNKNOWN),
        ({"state": "INACTIVE", "result": "COMPLETED"}, JobState.UNKNOWN),
        ({"state": "INACTIVE", "result": "COMPLETED", "returncode": False}, JobState.UNKNOWN),
        ({"state": "INACTIVE", "result": "FAILED", "returncode": 1}, JobState.FAILED),
        ({"state": "INACTIVE", "result": "CANCELED", "returncode": -128}, JobState.CANCELLED),
        ({"state": "INACTIVE", "result": "CANCELED", "returncode": 143, "t_run": 1.0}, JobState.CANCELLED),
        ({"state": "INACTIVE", "result": "TIMEOUT", "returncode": 142, "t_run": 1.0}, JobState.TIMEOUT),
        ({"state": "INACTIVE", "result": "EVAPORATED"}, JobState.UNKNOWN),
        ({"state": "INACTIVE"}, JobState.UNKNOWN),
    ],
)
def test_states_and_results(keys: dict[str, object], state: JobState) -> None:
    assert with_state(**keys).state is state


@pytest.mark.parametrize(("returncode", "exit_code", "signal"), [(160, 160, None), (255, 255, None), (139, None, 11)])
def test_an_exit_code_above_128_that_no_signal_has_is_the_programs_own(
    returncode: int, exit_code: int | None, signal: int | None
) -> None:
    status = with_state(state="INACTIVE", result="FAILED", returncode=returncode, t_run=1.0)
    assert (status.exit_code, status.signal) == (exit_code, signal)


def test_a_job_that_lost_a_node_and_went_on_ended_as_it_says() -> None:
    """The record of a real Flux 0.88 of three brokers, the last of which was killed: the exception is of severity 2."""
    lost = {"occurred": True, "severity": 2, "type": "node-failure", "note": "node failure on vm (shell rank 2)"}
    status = with_state(state="INACTIVE", result="COMPLETED", returncode=0, t_run=1.0, exception=lost)
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)
    assert "node failure" not in status.reason


def test_a_job_that_never_ran_has_no_exit_code() -> None:
    status = shown("json_big")
    assert status.exit_code is None  # Flux prints 1, which no program returned
    assert status.metrics.started_at is None


def test_figures() -> None:
    metrics = shown("json_ok").metrics
    assert metrics.elapsed_s == pytest.approx(0.028, abs=0.001)
    assert (metrics.nodes, metrics.cores, metrics.node_list) == (1, 1, "vm")
    assert metrics.queue_wait_s == pytest.approx(0.029, abs=0.001)


# -- the queue


def test_all_are_asked_for_in_one_command() -> None:
    assert FLUX.queue(["1", "2"]).argv == ("flux", "jobs", "--json", "1", "2")


@pytest.mark.parametrize(("name", "job_id"), [("jobs_unknown_json", "12345"), ("jobs_after_purge", "329638739968")])
def test_an_id_that_flux_has_forgotten_is_named_and_no_failure(name: str, job_id: str) -> None:
    report = FLUX.read_queue(answer(name))
    assert (dict(report.jobs), report.unknown, report.failed) == ({}, {job_id}, "")


def test_one_unknown_id_does_not_hide_the_others() -> None:
    known = Answer(("flux",), 0, answer("jobs_a_json").stdout, "JobID 12345 unknown\n")
    report = FLUX.read_queue(known)
    assert len(report.jobs) > 10
    assert report.unknown == {"12345"}


def test_a_job_that_flux_could_not_ask_for_is_not_denied() -> None:
    # of each id Flux asks for itself, and tells what went wrong with one beside the others
    troubled = Answer(("flux",), 0, answer("jobs_a_json").stdout, "rpc: Connection timed out\n")
    assert not FLUX.read_queue(troubled).unknown
    alone = FLUX.read_look_for(Answer(("flux",), 1, "", "rpc: Connection timed out\n"))
    assert alone.failed == "rpc: Connection timed out"
    assert not alone.unknown


def test_exit_code_0_without_a_list_has_failed_and_is_quoted() -> None:
    report = FLUX.read_queue(Answer(("flux", "jobs"), 0, "welcome to the machine\n", ""))
    assert "is not understood: welcome to the machine" in report.failed


def test_a_job_that_waits_for_a_limit_of_its_user_depends_on_nothing() -> None:
    status = with_state(state="DEPEND", dependencies=["max-running-jobs-user-limit"])
    assert status.state is JobState.PENDING
    assert "room" in status.reason
    assert with_state(state="DEPEND", dependencies=["max-run-jobs-queue", "after-finish=ƒ1"]).state is JobState.HELD


# -- room


@pytest.mark.parametrize("name", names("flux", "documented_capacity"))
def test_a_limit_of_jobs_is_worth_waiting_for(name: str) -> None:
    with pytest.raises(CapacityReached):
        FLUX.read_submit(answer(name))


def room(limits: Answer) -> Room:
    return FLUX.read_room([limits, answer("documented_room_jobs")])


def test_room_is_what_flux_accounting_leaves() -> None:
    assert [call.argv for call in FLUX.room("carol", "", "")] == [
        ("flux", "account", "view-user", "carol"),
        ("flux", "jobs", "--json", "-c0"),
    ]
    assert room(answer("documented_room_user")) == Room(jobs=5)  # 7 at most, 2 are active


@pytest.mark.parametrize("name", ["documented_room_two_limits", "documented_room_table", "documented_room_none"])
def test_where_no_one_limit_is_told_the_room_is_open(name: str) -> None:
    assert room(answer(name)) == Room()


# -- its own words


def test_the_brokers_line_on_an_exit_code_is_not_worth_telling() -> None:
    noise = "Nov 25 03:11:00.123456 UTC broker.err[0]: rc2.0: /jobs/x/bits.flux Exited (rc=3) 0.4s"
    said = "flux-job: task(s) exited with exit code 3"
    assert worth_telling(f"{noise}\n{said}") == said
    assert worth_telling(f"{said}\n{noise.replace('Exited', 'Killed')}\n") == f"{said}\n"
    other = "Nov 25 03:11:00.123456 UTC broker.err[0]: rc1.0: /etc/flux/rc1 Exited (rc=1) 0.4s"
    assert worth_telling(other) == other


@pytest.mark.parametrize("name", ["down_jobs", "nouri_jobs", "jobs_a", "jobs_default"])
def test_an_answer_that_is_not_json_proves_nothing(name: str) -> None:
    report = FLUX.read_queue(answer(name))
    assert report.failed
    assert not report.jobs


def test_a_truncated_answer_proves_nothing() -> None:
    whole = answer("jobs_a_json")
    for length in range(0, len(whole.stdout.rstrip()), 101):
        assert FLUX.read_queue(replace(whole, stdout=whole.stdout[:length])).failed


def test_there_is_no_other_accounting() -> None:
    assert FLUX.history(["1"]) is None


# -- find and cancel


def test_a_job_is_found_by_its_name_also_when_it_is_over() -> None:
    (call,) = FLUX.find("bits_abcd2345")
    assert call.argv == ("flux", "jobs", "-a", "-c0", "--json", "--name=bits_abcd2345")
    assert len(FLUX.read_found(answer("jobs_a_json"))) > 10
    assert FLUX.read_found(Answer(("flux",), 0, '{"jobs": []}\n', "")) == []


def test_a_look_up_without_a_broker_is_no_answer() -> None:
    with pytest.raises(SchedulerUnavailable, match="Unable to connect"):
        FLUX.read_found(answer("down_jobs"))


@pytest.mark.parametrize("name", ["cancel_pending", "cancel_mixed", "cancel_unknown", "cancel_after_purge"])
def test_a_cancellation_that_was_taken_or_came_too_late_is_fine(name: str) -> None:
    FLUX.read_cancel(answer(name))


@pytest.mark.parametrize("name", ["cancel_badid", "cancel_noargs", "down_submit"])
def test_a_cancellation_that_was_not_taken_is_an_error(name: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        FLUX.read_cancel(answer(name))


# -- the script and the instance


def test_a_request_stands_in_the_script() -> None:
    spec = replace(
        SPEC, nodes=2, ranks_per_node=4, threads_per_rank=2, gpus_per_node=1, exclusive=True, queue="batch",
        project="ab12", signal_name="USR1", signal_before_s=60, launcher="flux",
        dependencies=(Dependency("afterok", "326853722112"),),
    )  # fmt: skip
    assert not FLUX.unsupported(spec)
    assert directives(spec, "/jobs/a 'b'") == {
        "--job-name": "bits_abcd2345",
        "--output": "/jobs/a 'b'/scheduler.log",
        "--error": "/jobs/a 'b'/scheduler.log",
        "--cwd": "/jobs/a 'b'",
        "--nodes": "2",
        "--nslots": "2",
        "--cores-per-slot": "8",
        "--gpus-per-slot": "1",
        "--exclusive": "",
        "--time-limit": "90s",
        "--queue": "batch",
        "--setattr": 'system.bank="ab12"',  # --bank is there since 0.65
        "--signal": "SIGUSR1@60s",
        "--dependency": "afterok:326853722112",
    }
    assert command_words(spec).startswith("flux run --nodes=2 --ntasks=8 --cores-per-task=2 /bin/true")


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"memory_per_node_mib": 512}, "memory"),
        ({"elements": (("a",),)}, "array"),
        ({"elements": (("a",),), "element_limit": 1}, "limit"),
        ({"qos": "high"}, "quality of service"),
        ({"reservation": "r"}, "reservations"),
        ({"launcher": "srun"}, "srun"),
        ({"launcher": "mpirun", "nodes": 2}, "first node only"),
    ],
)
def test_what_flux_does_not_have_is_said_before_submission(asked: dict[str, object], word: str) -> None:
    faults = FLUX.unsupported(replace(SPEC, **asked))  # type: ignore[arg-type]
    assert any(word in fault for fault in faults)


def test_a_folder_that_would_be_a_template_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        directives(SPEC, "/jobs/{{id}}")


@pytest.mark.parametrize("name", ["it's", 'a "b"', 'a ""', "b\\c", "50%j#x $(touch pwned)", "gr\xf6\xdfe"])
def test_a_directory_of_any_name_stands_in_a_directive(name: str) -> None:
    """Quoted as a shell has it, it's was `'it'"'"'s'`: Flux took three quotes in a row for a value of several lines."""
    assert directives(SPEC, f"/jobs/{name}")["--cwd"] == f"/jobs/{name}"


@pytest.mark.parametrize("name", ["a\nb", "a\'\'\'b", "a\udcffb"])
def test_what_no_directive_can_hold_is_refused_in_a_sentence(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no directive of Flux can hold"):
        directives(SPEC, f"/jobs/{name}")


def test_the_instance_goes_with_every_command() -> None:
    there = Flux(uri="local:///run/flux/local")
    calls = [there.submit("x"), there.queue(["1"]), there.cancel(["1"]), *there.find("x")]
    assert all(call.environment == {"FLUX_URI": "local:///run/flux/local"} for call in calls)


def test_the_instance_of_the_caller_is_kept_and_its_job_is_not() -> None:
    kept = command_environment({"FLUX_URI": "local:///x", "FLUX_JOB_ID": "ƒ1", "FLUX_JOB_CC": "3"}, {})
    assert kept["FLUX_URI"] == "local:///x"
    assert not any(name.startswith("FLUX_JOB") for name in kept)


def test_the_script_is_bash_for_flux_too(tmp_path: Path) -> None:
    script = render_script(SPEC, FLUX, directory=str(tmp_path), token="abcd2345")
    assert script.startswith("#!/bin/bash\n")


@pytest.mark.parametrize(
    ("flux", "said"),
    [
        ("case $* in 'job id --to=dec ƒ9aywmAw') echo 326853722112;; *) exit 1;; esac", "326853722112"),
        ("exit 1", f"none-{socket.gethostname()}-"),
    ],
    ids=["0.71", "nobody tells"],
)
def test_the_script_knows_its_id_as_the_queue_shows_it(tmp_path: Path, flux: str, said: str) -> None:
    assert own_id(tmp_path, flux, {"FLUX_ENCLOSING_ID": "ƒ9aywmAw"}).startswith(said)


def test_before_0_71_the_instance_around_the_script_tells_the_id(tmp_path: Path) -> None:
    flux = "case $* in 'getattr jobid') echo ƒ9aywmAw;; 'job id --to=dec ƒ9aywmAw') echo 326853722112;; *) exit 1;; esac"
    assert own_id(tmp_path, flux, {}) == "326853722112"


def own_id(folder: Path, flux: str, environment: dict[str, str]) -> str:
    """What the script takes for its own id where this is the flux command."""
    program = folder / "flux"
    program.write_text(f"#!/bin/bash\n{flux}\n")
    program.chmod(0o755)
    around = {"PATH": f"{folder}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", **environment}
    said = subprocess.run(["bash", "-c", f'id={FLUX.own_id(SPEC)}; echo "$id"'], env=around, capture_output=True, text=True)
    return said.stdout.strip()


# -- garbage

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
KEYS = (
    "id",
    "state",
    "result",
    "returncode",
    "exception",
    "t_run",
    "t_submit",
    "dependencies",
    "name",
    "nnodes",
    "urgency",
)
RECORDS = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=8)
TEXT = st.one_of(
    st.text(),
    st.binary().map(lambda raw: raw.decode("utf-8", "replace")),
    JSON.map(json.dumps),
    RECORDS.map(json.dumps),
    st.lists(RECORDS, max_size=3).map(lambda records: json.dumps({"jobs": records})),
)


@given(st.one_of(st.none(), st.integers(0, 255)), TEXT, st.text(max_size=50))
def test_no_answer_leads_to_an_error_that_is_not_ours(code: int | None, out: str, err: str) -> None:
    given = Answer(("flux", "jobs"), code, out, err)
    FLUX.read_queue(given)
    FLUX.read_history(given)
    FLUX.read_room([given, given])
    for read in (FLUX.read_submit, FLUX.read_found, FLUX.read_cancel):
        with contextlib.suppress(SubmitRefused, SchedulerUnavailable):
            read(given)
    for probe in probes(FLUX, [Demand("batch", "", {"p": JobSpec(name="x", walltime_s=60)})], "me"):
        assert probe.read(given).sentence


@given(st.builds(lambda record, number: {**record, "id": number}, RECORDS, st.integers(0, 2**63)))
def test_garbage_is_never_a_success(record: dict[str, object]) -> None:
    out = json.dumps(record, ensure_ascii=True)
    for status in FLUX.read_queue(Answer(("flux",), 0, out, "")).jobs.values():
        if status.state is JobState.COMPLETED:
            assert (record["state"], record["result"], record["returncode"]) == ("INACTIVE", "COMPLETED", 0)
        json.dumps(status.metrics.to_dict()).encode()


# -- doctor


def test_doctor() -> None:
    named = {probe.name: probe for probe in probes(FLUX, [Demand("batch")], "me")}
    assert named["flux jobs"].read(answer("jobs_a_json")).level == "ok"
    assert named["flux jobs"].read(answer("down_jobs")).level == "fail"
    assert named["queue"].read(Answer(("flux",), 0, "batch*\ndebug\n", "")).level == "ok"
    assert named["queue"].read(Answer(("flux",), 0, "debug\n", "")).level == "fail"
    assert named["flux"].read(Answer(("flux",), 0, "commands:    \t\t0.88.0\n", "")).sentence == "commands: 0.88.0"
    assert named["flux"].read(Answer(("flux",), 0, "commands:    \t\t0.48.0\n", "")).level == "fail"


def probed(name: str, demand: Demand, out: str, code: int = 0) -> Finding:
    probe = next(probe for probe in probes(FLUX, [demand], "me") if probe.name == name)
    return probe.read(Answer(probe.call.argv, code, out, ""))


def test_doctor_says_how_long_jobs_are_known() -> None:
    demand = Demand("batch")
    assert "older than 7d" in probed("history", demand, '{"inactive-age-limit":"7d"}\n').sentence
    assert "until the instance ends" in probed("history", demand, "{}\n").sentence
    assert probed("history", demand, "", 1).level == "warn"


def test_doctor_compares_walltimes_with_the_limit() -> None:
    demand = Demand("batch", "", {"long": JobSpec(name="x", walltime_s=7200)})
    (call,) = (probe.call for probe in probes(FLUX, [demand], "me") if probe.name == "limit")
    assert call.argv == ("flux", "config", "get", "--default={}", "queues.batch.policy.limits")
    short = probed("limit", demand, '{"duration":"1h","job-size":{"max":{"nnodes":8}}}\n')
    assert (short.level, short.sentence) == ("fail", "queue batch allows 1h, but profile 'long' asks for 02:00:00")
    assert probed("limit", demand, '{"duration":"1.5d"}\n').level == "ok"
    assert probed("limit", demand, "{}\n").level == "ok"
