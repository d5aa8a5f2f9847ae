"""What the doctor reads from Slurm's answers: the words are a real cluster's."""

from __future__ import annotations

import pytest

from dagster_hpc.checks import probes
from dagster_hpc.checks.base import Demand, Finding
from dagster_hpc.checks.slurm import parse_limit
from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers.slurm.requests import Slurm

PARTITIONS = """\
cpu*|1-00:00:00|up|2|8|3000|(null)|1-infinite
cpu*|1-00:00:00|up|1|16|64000|(null)|1-infinite
gpu|1-00:00:00|up|1|8|3000|gpu:a100:4(S:0-1),gpu:h100:1|1-infinite
short|1:00|up|4|8|3000|(null)|1-2
down|infinite|down|1|8|3000|(null)|1-infinite
"""
CONFIG = """\
Configuration data as of 2026-11-20T07:46:00
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = testing
MaxArraySize            = 10001
MaxJobCount             = 20000
MinJobAge               = 300 sec
"""


def finding(probe_name: str, stdout: str = "", stderr: str = "", code: int = 0, demand: Demand = Demand()) -> Finding:  # noqa: B008
    probe = next(probe for probe in probes(Slurm(), [demand], "me") if probe.name == probe_name)
    return probe.read(Answer(probe.call.argv, code, stdout, stderr))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1:00", 60), ("12:30:00", 45000), ("1-00:00:00", 86400), ("infinite", None), ("n/a", None), ("", None)],
)
def test_time_limits_count_from_the_right(text: str, seconds: int | None) -> None:
    assert parse_limit(text) == seconds


def test_an_empty_queue_means_the_default_partition() -> None:
    assert finding("partition", PARTITIONS).sentence == "cpu, the default: 3 nodes, time limit 1-00:00:00"
    assert finding("partition", PARTITIONS.replace("*", "")).level == "fail"


def test_a_walltime_just_at_the_limit_fits() -> None:
    at, over = (Demand("short", "", {"brief": JobSpec(name="x", walltime_s=seconds)}) for seconds in (60, 61))

    assert finding("partition", PARTITIONS, demand=at).level == "ok"
    assert finding("partition", PARTITIONS, demand=over).level == "fail"


@pytest.mark.parametrize(
    ("queue", "request_", "words"),
    [
        ("", {"nodes": 4}, "4 nodes of 3"),
        ("", {"nodes": 2, "ranks_per_node": 16}, "16 cores and 0 MiB on each of 2 nodes"),
        ("", {"memory_per_node_mib": 128000}, "1 cores and 128000 MiB"),
        ("", {"ranks_per_node": 8, "threads_per_rank": 4}, "32 cores"),
        ("short", {"nodes": 3, "walltime_s": 60}, "3 nodes, where a job may have 2"),
        ("", {"gpus_per_node": 1}, "1 GPUs on each of 1 nodes"),
        ("gpu", {"gpus_per_node": 6}, "6 GPUs on each of 1 nodes"),
    ],
)
def test_a_profile_that_no_nodes_can_ever_run_fails(queue: str, request_: dict[str, int], words: str) -> None:
    demand = Demand(queue, specs={"big": JobSpec(name="x", **request_)})  # type: ignore[arg-type]

    said = finding("partition", PARTITIONS, demand=demand)

    assert said.level == "fail"
    assert f"profile 'big' asks for {words}" in said.sentence


@pytest.mark.parametrize(
    ("queue", "request_"),
    [
        ("", {"nodes": 3, "ranks_per_node": 8, "memory_per_node_mib": 3000}),
        ("", {"ranks_per_node": 16, "memory_per_node_mib": 64000}),
        ("gpu", {"gpus_per_node": 5}),
        ("short", {"nodes": 2, "walltime_s": 60}),
    ],
)
def test_a_profile_that_just_fits_is_well(queue: str, request_: dict[str, int]) -> None:
    demand = Demand(queue, specs={"big": JobSpec(name="x", **request_)})  # type: ignore[arg-type]
    assert finding("partition", PARTITIONS, demand=demand).level == "ok"


def test_the_largest_array_is_told() -> None:
    assert "at most 10001 elements" in finding("arrays", CONFIG).sentence
    assert finding("arrays", CONFIG.replace("= 10001", "= 0")).level == "warn"
    assert finding("arrays", code=1, stderr="Unable to contact slurm controller").level == "warn"


def test_a_short_memory_without_accounting_is_a_warning() -> None:
    without = CONFIG.replace("accounting_storage/slurmdbd", "(null)")  # since 23.11, for accounting_storage/none
    assert "for 300 s after its end, and the accounting for longer" in finding("history", CONFIG).sentence
    assert finding("history", without).level == "ok"
    assert finding("history", without.replace("300 sec", "30 sec")).level == "warn"
    assert finding("history", "nonsense").level == "warn"


def test_room_is_told_as_far_as_slurm_tells_it() -> None:
    used = (
        "ClusterName=testing Account=p UserName=me(7) Partition= DefAssoc=Yes GrpSubmitJobs=N(5) MaxSubmitJobs=9(5)\n"
    )
    assert "4 more jobs" in finding("limits", used).sentence
    assert "no limit" in finding("limits", used.replace("9(5)", "")).sentence
    assert finding("limits", code=1, stderr="Access/permission denied").level == "warn"


def test_no_limit_fits_everything() -> None:
    demand = Demand("down", "", {"long": JobSpec(name="x", walltime_s=10**8)})

    assert "down: jobs wait there" in finding("partition", PARTITIONS, demand=demand).sentence


def test_an_old_slurm_is_a_warning() -> None:
    assert finding("sbatch", "slurm 22.05.8\n").level == "ok"
    assert finding("sbatch", "slurm 19.05.5\n").level == "warn"


def test_the_head_line_of_a_multi_cluster_answer_is_no_job() -> None:
    assert "; 2 of your jobs" in finding("squeue", "CLUSTER: one\n11\n12_[3-9]\n").sentence


def test_the_controller_tells_its_time() -> None:
    answer = finding("slurmctld", "Configuration data as of 2026-11-20T07:46:00\nClusterName             = testing\n")

    assert answer.sentence == "cluster testing"
    assert answer.clock is not None
    assert finding("slurmctld", "Configuration data as of yesterday\n").clock is None


def test_a_database_that_is_down_is_a_warning_in_its_words() -> None:
    words = "sacct: error: Problem talking to the database: Connection refused"

    answer = finding("sacct", stderr=words, code=1)

    assert answer.level == "warn"
    assert "Connection refused" in answer.sentence


def test_accounts_are_compared_as_slurm_does() -> None:
    demand = Demand(project="Proj1")

    assert finding("account", "proj1\nroot\n", demand=demand).level == "ok"
    assert finding("account", "root\n", demand=demand).level == "fail"
    assert finding("account", "", demand=demand).level == "warn"


def test_nothing_is_asked_about_an_account_that_is_not_named() -> None:
    assert "account" not in {probe.name for probe in probes(Slurm(), [Demand()], "me")}


def test_another_cluster_is_asked_where_one_is_named() -> None:
    calls = [probe.call.argv for probe in probes(Slurm(cluster="two"), [Demand(project="p")], "me")]

    assert all(argv[1:3] == ("-M", "two") for argv in calls if argv[0] != "sacctmgr")
