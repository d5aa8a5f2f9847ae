"""WHERE: queues, projects, executables and script names of the batch systems."""

from __future__ import annotations

import pytest

from dagster_hpc import ConfigurationError, ExecutionProfile, LocalTarget, SlurmTarget, SubmissionRoute
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.resources.targets import target_class

SLURM = SlurmTarget(
    queue_cpu="regular", queue_gpu="accel", project_cpu="ab12", project_gpu="cd34",
    executable_map={"bitcount": "/apps/bitcount", "dice": "/apps/Dice"}, qpu="ibm",
)  # fmt: skip


def test_the_resource_class_chooses_queue_and_project() -> None:
    assert SLURM.route("cpu") == SubmissionRoute("slurm", "regular", "ab12")
    assert SLURM.route("gpu") == SubmissionRoute("slurm", "accel", "cd34")


@pytest.mark.parametrize(
    ("stem", "name"),
    [("batch", "batch.slurm"), ("batch.pbs", "batch.slurm"), ("batch.slurm", "batch.slurm"),
     ("batch.pjm", "batch.slurm"), ("batch.sh", "batch.slurm"), ("run.v2", "run.v2.slurm"),
     ("a.slurm.txt", "a.slurm.txt.slurm")],
)  # fmt: skip
def test_a_known_suffix_of_a_script_is_replaced_another_is_kept(stem: str, name: str) -> None:
    assert SLURM.script_name(stem) == name


def test_the_local_suffix_is_sh() -> None:
    assert LocalTarget().script_name("batch.slurm") == "batch.sh"


def test_an_executable_is_a_key_of_the_map_or_an_absolute_path() -> None:
    assert SLURM.executable("bitcount") == "/apps/bitcount"
    assert SLURM.executable("/usr/bin/env") == "/usr/bin/env"


@pytest.mark.parametrize(
    ("key", "hint"),
    [("bitcont", "did you mean 'bitcount'?"), ("zzz", "known are: bitcount, dice"),
     ("./bitcount", "did you mean 'bitcount'?")],
)  # fmt: skip
def test_an_unknown_executable_suggests_the_nearest(key: str, hint: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        SLURM.executable(key)
    assert hint in str(refused.value)
    assert "SlurmTarget" in str(refused.value)


def test_a_target_without_a_map_says_that_none_is_defined() -> None:
    with pytest.raises(ConfigurationError, match="it is empty"):
        LocalTarget().executable("bitcount")


def test_targets_have_different_names_in_one_ledger() -> None:
    targets = [
        LocalTarget(),
        LocalTarget(spool="/tmp/a"),
        SlurmTarget(),
        SlurmTarget(cluster="lab"),
        SlurmTarget(name="x"),
    ]
    assert len({target.engine_target().name for target in targets}) == len(targets)


def test_two_sites_of_one_scheduler_are_two_targets_and_no_new_code() -> None:
    # in the predecessor a site's name was its scheduler
    here, there = SlurmTarget(name="here", queue_cpu="a"), SlurmTarget(name="there", queue_cpu="b")
    assert here.engine_target().scheduler == there.engine_target().scheduler
    assert here.engine_target().name != there.engine_target().name


def test_what_only_slurm_knows_reaches_its_template() -> None:
    assert SLURM.options() == {"qpu": "ibm"}
    assert SlurmTarget().options() == {}


@pytest.mark.parametrize(
    ("ranks", "launcher", "options"), [(1, "single", ()), (4, "mpirun", ())], ids=["one rank", "several"]
)
def test_on_this_machine_srun_becomes_what_is_here(ranks: int, launcher: str, options: tuple[str, ...]) -> None:
    asked = JobSpec(name="x", ranks_per_node=ranks, launcher="srun", launcher_options=("--mpi=pmix",))
    adapted = LocalTarget().adapt(asked)
    assert (adapted.launcher, adapted.launcher_options) == (launcher, options)


def test_other_launchers_are_taken_as_they_are() -> None:
    asked = JobSpec(name="x", ranks_per_node=4, launcher="mpirun", launcher_options=("--oversubscribe",))
    assert LocalTarget().adapt(asked) is asked


def test_memory_that_is_none_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match="memory 'lots'"):
        LocalTarget(memory="lots").route("cpu")


def test_a_target_may_be_chosen_by_a_word() -> None:
    assert target_class("slurm") is SlurmTarget
    with pytest.raises(ConfigurationError, match="did you mean 'slurm'"):
        target_class("slrum")


def test_a_profile_can_be_used_on_any_target() -> None:
    assert ExecutionProfile(launcher="srun", mpiprocs=2) == ExecutionProfile(launcher="srun", mpiprocs=2)
