"""WHAT, HOW and WHERE together: one flat request, or all its faults at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, ConfigurationError, ExecutionProfile, LocalTarget, SlurmTarget
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.resources.resolve import read_inputs, resolve

TARGET = SlurmTarget(queue_cpu="regular", queue_gpu="accel", project_cpu="ab12", executable_map={"app": "/apps/app"})


def resolved(command: Command | None = None, profile: dict[str, Any] | None = None, **more: Any) -> JobSpec:
    return resolve(command or Command("app"), ExecutionProfile(**(profile or {})), more.pop("target", TARGET), **more)


def faults(command: Command | None = None, profile: dict[str, Any] | None = None, **more: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        resolved(command, profile, **more)
    return refused.value.faults


def test_users_arguments_follow_the_commands_own_in_order() -> None:
    assert resolved(Command("app", args=["a", "b"]), args=["c", "a"]).args == ("a", "b", "c", "a")


def test_arguments_may_be_paths_and_numbers() -> None:
    assert resolved(Command("app", args=[Path("/x/y"), 3, 2.5])).args == ("/x/y", "3", "2.5")  # type: ignore[list-item]


def test_one_string_in_the_place_of_a_list_is_refused() -> None:
    assert "give a list of words" in faults(Command("app", args="--input a"))[0]


def test_units_are_fixed_and_names_resolved() -> None:
    spec = resolved(profile={"walltime": "90m", "memory_per_node": "2G", "signal_before_end": "USR1@2m"})
    assert (spec.walltime_s, spec.memory_per_node_mib, spec.signal_name, spec.signal_before_s) == (
        5400,
        2048,
        "USR1",
        120,
    )
    assert (spec.executable, spec.queue, spec.project) == ("/apps/app", "regular", "ab12")


def test_a_gpu_profile_goes_to_the_gpu_queue() -> None:
    assert resolved(profile={"resource_class": "gpu"}).queue == "accel"


def test_an_inline_script_needs_no_executable() -> None:
    spec = resolved(Command.shell("echo hi", args=["a"]))
    assert (spec.shell, spec.args) == ("echo hi", ("a",))


def test_all_faults_stand_in_one_message() -> None:
    found = faults(
        Command("ap", args=["a\0b"]),
        {"walltime": "soon", "memory_per_node": "much", "signal_before_end": "NOW", "mpiprocs": 4,
         "environments": {"1A": "x", "B": "y\0"}, "qos": "a\nb", "directives": ["--nice"]},
        outputs={"out": "/etc/passwd"},
    )  # fmt: skip
    wanted = [
        "executable 'ap'", "walltime 'soon'", "memory 'much'", "signal_before_end 'NOW'", "launcher 'single'",
        "'1A' is no name", "argument 1 contains a NUL", "environments[B] contains a NUL", "qos is",
        "begins with '#'", "'/etc/passwd' is no file path",
    ]  # fmt: skip
    missing = [words for words in wanted if not any(words in fault for fault in found)]
    assert missing == []
    assert len(found) == len(set(found)) == len(wanted)


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "A;rm", "Ä", "A\n"])
def test_what_is_no_name_of_a_variable_is_refused(name: str) -> None:
    assert "is no name for an environment variable" in faults(profile={"environments": {name: "x"}})[0]


@pytest.mark.parametrize("field", ["qos", "reservation", "container"])
@pytest.mark.parametrize("bad", ["a\n#SBATCH --account=x", "a\rb", "a\0b"])
def test_a_line_break_in_a_directive_is_found_before_anything_is_rendered(field: str, bad: str) -> None:
    assert f"{field} is" in faults(profile={field: bad})[0]


@pytest.mark.parametrize("field", ["queue_cpu", "project_cpu", "qpu"])
def test_a_line_break_in_the_target_is_found_too(field: str) -> None:
    target = SlurmTarget(**{"executable_map": {"app": "/apps/app"}, field: "a\nb"})
    assert "line break" in faults(target=target)[0]


@pytest.mark.parametrize(
    ("profile", "fits"),
    [
        ({"launcher": "single"}, True),
        ({"launcher": "single", "ompthreads": 8}, True),
        ({"launcher": "single", "mpiprocs": 2}, False),
        ({"launcher": "single", "num_nodes": 2}, False),
        ({"launcher": "srun", "num_nodes": 2, "mpiprocs": 8}, True),
        ({"launcher": "single", "mpi_options": ["--bind-to", "core"]}, False),
    ],
)
def test_the_launcher_fits_the_ranks(profile: dict[str, Any], fits: bool) -> None:
    if fits:
        resolved(profile=profile)
    else:
        assert "launcher 'single'" in faults(profile=profile)[0]


def test_ranks_that_fit_nowhere_else_fit_on_this_machine_with_srun() -> None:
    spec = resolved(Command("/bin/true"), {"launcher": "srun", "mpiprocs": 2}, target=LocalTarget())
    assert spec.launcher == "mpirun"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "..", "../x", "a/../../x", "a/", ".", "a\nb"])
def test_outputs_lie_below_the_jobs_directory(path: str) -> None:
    assert faults(outputs={"out": path})


@pytest.mark.parametrize("path", ["a", "a/b.txt", "./a", "a b/ß.txt", "..a"])
def test_and_may_have_any_other_path(path: str) -> None:
    assert resolved(outputs={"out": path}).outputs == (("out", path),)


@pytest.mark.parametrize("name", [".job/exit_code", "stdout.log", "./stderr.log", "../x", "/x", "scheduler.log"])
def test_an_input_takes_no_place_of_the_jobs_own(name: str) -> None:
    with pytest.raises(ConfigurationError, match="input"):
        read_inputs({name: "x"})


def test_inputs_are_text_bytes_or_files(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff")
    assert read_inputs({"a": "ß", "b": b"\0", "c": tmp_path / "f"}) == {"a": b"\xc3\x9f", "b": b"\0", "c": b"\xff"}


def test_an_input_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'samples' cannot be read"):
        read_inputs({"samples": tmp_path / "absent"})


def test_an_argument_that_linux_does_not_take_is_refused_with_a_way_out() -> None:
    assert "put it into an input file" in faults(Command("app", args=["x" * 200_000]))[0]
    assert resolved(Command("app", args=["x" * 100_000])).args == ("x" * 100_000,)


def test_the_same_request_has_the_same_fingerprint_and_any_other_another() -> None:
    one = resolved(Command("app", args=["a"])).fingerprint("slurm", {})
    assert one == resolved(Command("app", args=["a"])).fingerprint("slurm", {})
    others = {
        resolved(Command("app", args=["b"])).fingerprint("slurm", {}),
        resolved(Command("app", args=["a"]), {"walltime": "1h"}).fingerprint("slurm", {}),
        resolved(Command("app", args=["a"])).fingerprint("local", {}),
        resolved(Command("app", args=["a"])).fingerprint("slurm", {"in": "123"}),
        resolved(Command("app", args=["\udcff"])).fingerprint("slurm", {}),
    }
    assert len(others) == 5
    assert one not in others
