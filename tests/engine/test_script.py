"""Job scripts, run for real by bash: what is asked for arrives, and what happened is written down."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.observe.sentinel import Sentinel, read_sentinel
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.schedulers.local.requests import Local
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from dagster_hpc.engine.script import DUPLICATE_EXIT_CODE, quoting_faults, render_script, script_files
from tests.engine.pretend import eventually

HOST = LocalHost()
SLURM = Slurm()
DUMP = """\
import os, sys
content = {"argv": [os.fsencode(a) for a in sys.argv[1:]], "env": dict(os.environb), "stdin": sys.stdin.buffer.read(),
           "cwd": os.getcwdb()}
open("dump", "w").write(repr(content))
"""


@dataclass
class Job:
    """One job directory, and bash in the place of a compute node."""

    directory: Path
    spec: JobSpec
    scheduler: Scheduler = SLURM
    template: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    own_group: bool = False  # its processes can be signalled all at once, as PBS and Flux do

    @property
    def script(self) -> Path:
        return self.directory / "job.slurm"

    def place(self) -> Job:
        text = render_script(
            self.spec, self.scheduler, directory=str(self.directory), token="abcd2345", template=self.template
        )
        for folder in (".job", *(f"{n}/.job" for n in range(len(self.spec.elements)))):
            (self.directory / folder).mkdir(parents=True, exist_ok=True)
        for name, content in {**script_files(self.spec), "job.slurm": text.encode("utf-8", "surrogateescape")}.items():
            (self.directory / name).write_bytes(content)
        return self

    def start(self, job_id: str = "42", **more: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": job_id, **self.environment, **more}
        return subprocess.Popen(
            ["bash", str(self.script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            start_new_session=self.own_group,
        )  # fmt: skip

    def run(self, job_id: str = "42", **more: str) -> int:
        process = self.start(job_id, **more)
        self.said = b"".join(process.communicate(timeout=60))
        return process.returncode

    def read(self, name: str) -> str:
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    @property
    def sentinel(self) -> Sentinel:
        return read_sentinel(HOST, str(self.directory))

    @property
    def dump(self) -> dict[str, Any]:
        content: dict[str, Any] = ast.literal_eval(self.read("dump"))
        return content


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "job"


def shell(directory: Path, text: str, **more: Any) -> Job:
    return Job(directory, JobSpec(name="x", shell=text, **more)).place()


def dumping(directory: Path, **more: Any) -> Job:
    args = more.pop("args", ())
    program = ["-I", "-S", "-c", DUMP]
    return Job(directory, JobSpec(name="x", executable=sys.executable, args=(*program, *args), **more)).place()


# -- what is asked for arrives

NASTY = [
    "with blanks  twice",
    " leading and trailing ",
    "it's",
    'say "hi"',
    "$(touch pwned)",
    "`touch pwned`",
    "${HOME} $HOME $$ $0",
    "line\nbreak\n",
    "\ttab\r\x01\x7f",
    "größe 日本 🦆",
    os.fsdecode(b"\xff\xfe not utf-8"),
    "-n",
    "--",
    "-",
    "",
    "*",
    "~",
    "a;b|c&d>e<f",
    "\\",
    "\\n",
    "!!",
    "#SBATCH --account=other",
    "{{ spec }} {% raw %}",
    "%j %% %a",
]
words = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.binary().map(
    lambda raw: os.fsdecode(raw.replace(b"\0", b""))
)
few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(args=st.lists(words, max_size=6))
@example(args=NASTY)
def test_every_argument_arrives_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, args: list[str]) -> None:
    # the predecessor joined arguments with blanks
    job = dumping(tmp_path_factory.mktemp("job"), args=tuple(args))
    assert job.run() == 0, job.read("stderr.log")
    assert job.dump["argv"] == [os.fsencode(arg) for arg in args]
    assert not (job.directory / "pwned").exists()


@few
@given(values=st.lists(words, min_size=1, max_size=6))
@example(values=NASTY)
def test_every_environment_value_arrives_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, values: list[str]
) -> None:
    # the predecessor wrote export K="v", in which $ and ` are live
    environment = tuple((f"VALUE_{number}", value) for number, value in enumerate(values))
    job = dumping(tmp_path_factory.mktemp("job"), environment=environment)
    assert job.run() == 0, job.read("stderr.log")
    assert {name: job.dump["env"][name.encode()] for name, _ in environment} == {
        name: os.fsencode(value) for name, value in environment
    }


@few
@given(words)
@example("\n".join(NASTY))
@example("")
def test_standard_input_arrives_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, stdin: str) -> None:
    job = dumping(tmp_path_factory.mktemp("job"), stdin=stdin)
    assert job.run() == 0
    assert job.dump["stdin"] == os.fsencode(stdin)


def test_without_standard_input_there_is_none_to_wait_for(directory: Path) -> None:
    job = dumping(directory)
    job.run()
    assert job.dump["stdin"] == b""


def test_an_argument_of_a_hundred_kilobytes_arrives(directory: Path) -> None:
    long = "0123456789" * 10_000
    job = dumping(directory, args=(long,))
    job.run()
    assert job.dump["argv"] == [long.encode()]


@pytest.mark.parametrize(
    "name", ["with blank", "it's", 'a "b"', "größe 日本", "$(touch pwned)", "-rf", "a;b", "new\nline", "100%j", "#x"]
)
def test_a_job_runs_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    # the predecessor's `cd` was not quoted
    job = Job(tmp_path / name, JobSpec(name="x", executable=sys.executable, args=("-I", "-S", "-c", DUMP)), Local())
    if "\n" in name:  # a line break would end the directive that names the log
        with pytest.raises(ConfigurationError, match="line break"):
            job.place()
        return
    job.place()
    assert job.run() == 0
    assert job.dump["cwd"] == os.fsencode(job.directory)
    assert not list(tmp_path.rglob("pwned"))


@few
@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_an_inline_script_is_run_as_it_stands(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    files = script_files(JobSpec(name="x", shell=text))
    assert files[".job/command.sh"].decode().removesuffix("\n") == text.removesuffix("\n")


def test_an_inline_script_gets_the_arguments_and_stops_at_the_first_command_that_fails(directory: Path) -> None:
    job = shell(directory, 'echo "$1|$2"\nfalse | true\necho never', args=("a b", "c"))
    assert job.run() == 1
    assert job.read("stdout.log") == "a b|c\n"


def test_a_program_with_blanks_in_its_path_is_run(tmp_path: Path, directory: Path) -> None:
    program = tmp_path / "my program's name"
    program.write_text("#!/bin/sh\necho it ran\n")
    program.chmod(0o755)
    job = Job(directory, JobSpec(name="x", executable=str(program))).place()
    assert job.run() == 0
    assert job.read("stdout.log") == "it ran\n"


def test_elements_of_an_array_get_their_own_arguments_and_directories(directory: Path) -> None:
    elements = (("a b", "$(touch pwned)"), ("",), (), ("größe\n",))
    program = ("-I", "-S", "-c", DUMP)
    job = Job(directory, JobSpec(name="x", executable=sys.executable, args=program, elements=elements)).place()
    for index, element in enumerate(elements):
        assert job.run(SLURM_ARRAY_TASK_ID=str(index)) == 0, job.said
        dumped = ast.literal_eval(job.read(f"{index}/dump"))
        assert dumped["argv"] == [os.fsencode(word) for word in element]
        assert dumped["cwd"] == os.fsencode(directory / str(index))
        assert read_sentinel(HOST, str(directory / str(index))).exit_code == 0
    assert not list(directory.rglob("pwned"))


def test_threads_are_set_for_openmp_and_for_srun(directory: Path) -> None:
    # srun does not inherit --cpus-per-task since Slurm 22.05
    job = dumping(directory, threads_per_rank=3)
    job.run()
    assert job.dump["env"][b"OMP_NUM_THREADS"] == b"3"
    assert job.dump["env"][b"SRUN_CPUS_PER_TASK"] == b"3"


@pytest.mark.parametrize(
    ("launcher", "line"),
    [
        ("single", "/bin/app a"),
        ("srun", "srun --ntasks=8 --ntasks-per-node=4 --mpi=pmix /bin/app a"),
        ("mpirun", "mpirun -n 8 --mpi=pmix /bin/app a"),
        ("mpiexec", "mpiexec -n 8 --mpi=pmix /bin/app a"),
        ("mpiexec.hydra", "mpiexec.hydra -n 8 -ppn 4 --mpi=pmix /bin/app a"),
    ],
)
def test_the_launcher_starts_the_ranks(launcher: Any, line: str) -> None:
    # the predecessor dropped mpiprocs and ompthreads on one of its systems
    spec = JobSpec(
        name="x", executable="/bin/app", args=("a",), nodes=2, ranks_per_node=4, launcher=launcher,
        launcher_options=("--mpi=pmix",),
    )  # fmt: skip
    assert f"\n{line} </dev/null &\n" in render_script(spec, SLURM, directory="/x", token="abcd2345")


def test_a_container_stands_between_launcher_and_program() -> None:
    spec = JobSpec(name="x", executable="/bin/app", launcher="srun", container="/images/a b.sif", gpus_per_node=1)
    script = render_script(spec, SLURM, directory="/x", token="abcd2345")
    assert "srun --ntasks=1 --ntasks-per-node=1 apptainer exec --nv '/images/a b.sif' /bin/app" in script


# -- what happened is written down


@pytest.mark.parametrize("code", [0, 1, 3, 93, 127, 255])
def test_the_exit_code_of_the_program_is_the_jobs(directory: Path, code: int) -> None:
    job = shell(directory, f"exit {code}")
    assert job.run() == code
    assert job.sentinel.exit_code == code


def test_a_program_that_is_not_there_is_127_and_says_so(directory: Path) -> None:
    job = Job(directory, JobSpec(name="x", executable="/no/such/program")).place()
    assert job.run() == 127
    assert "/no/such/program" in job.read("stderr.log")


@pytest.mark.parametrize(("name", "code"), [("SEGV", 139), ("KILL", 137), ("ABRT", 134)])
def test_death_by_a_signal_is_128_and_its_number(directory: Path, name: str, code: int) -> None:
    job = shell(directory, f"kill -{name} $$")
    assert job.run() == code
    assert job.sentinel.exit_code == code


def test_beginning_and_end_are_written_with_times_and_host(directory: Path) -> None:
    before = time.time()
    job = shell(directory, "true")
    assert job.sentinel.started_at is None
    job.run()
    sentinel = job.sentinel
    assert before - 1 <= (sentinel.started_at or 0) <= (sentinel.ended_at or 0) <= time.time() + 1
    assert sentinel.node == os.uname().nodename
    assert sentinel.cpu_time_s is not None
    assert sentinel.signal is None


@pytest.mark.parametrize("language", ["C", "de_DE.UTF-8"])
def test_the_files_hold_what_the_reader_expects_in_any_language(directory: Path, language: str) -> None:
    job = shell(directory, "true")
    job.run(LC_ALL=language)
    code, ended = job.read(".job/exit_code").split()
    assert (code, float(ended) > 1e9) == ("0", True)
    assert job.read(".job/started").split()[1] == "42"
    assert not list((directory / ".job").glob("*.tmp"))


def test_the_exit_code_file_is_whole_whenever_it_is_there(directory: Path) -> None:
    job = shell(directory, "exit 7")
    process = job.start()
    seen = set()
    while process.poll() is None:
        seen.add(job.read(".job/exit_code"))
    process.communicate()
    seen.discard("")  # not there yet
    assert all(text.startswith("7 ") and text.endswith("\n") for text in seen)


def test_output_goes_to_two_files_and_to_nothing_else(directory: Path) -> None:
    job = shell(directory, "echo out; echo err >&2")
    job.run()
    assert (job.read("stdout.log"), job.read("stderr.log"), job.said) == ("out\n", "err\n", b"")


def test_cpu_time_of_the_program_is_counted(directory: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    job = Job(directory, JobSpec(name="x", executable=sys.executable, args=("-I", "-S", "-c", busy))).place()
    job.run()
    assert (job.sentinel.cpu_time_s or 0) >= 0.3


def test_a_signal_reaches_the_program_and_its_exit_code_is_kept(directory: Path) -> None:
    trapping = "trap 'echo caught; exit 7' TERM; echo ready; for i in $(seq 2000); do sleep 0.01; done"
    job = shell(directory, trapping)
    process = job.start()
    eventually(lambda: "ready" in job.read("stdout.log"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 7
    assert "caught" in job.read("stdout.log")
    assert (job.sentinel.exit_code, job.sentinel.signal) == (7, "TERM")


@pytest.mark.parametrize("first", ["children", "script", "all at once"])
def test_it_says_143_after_sigterm_whichever_of_its_processes_hears_of_it_first(tmp_path: Path, first: str) -> None:
    """PBS and Flux signal every process of a job at once; bash then said 255 for 10 jobs of 16."""
    jobs = [Job(tmp_path / str(n), JobSpec(name="x", shell="sleep 60"), own_group=True).place() for n in range(8)]
    scripts = [job.start() for job in jobs]
    for job, script in zip(jobs, scripts, strict=True):
        eventually(lambda job=job: job.read(".job/started"))  # type: ignore[misc]
        eventually(lambda script=script: len(children_of(script.pid)) > 0)  # type: ignore[misc]
        if first == "children":
            for child in children_of(script.pid):
                os.kill(child, signal.SIGTERM)
        if first == "script":
            os.kill(script.pid, signal.SIGTERM)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGTERM)
    assert [script.wait(60) for script in scripts] == [143] * len(jobs)
    assert [job.sentinel.exit_code for job in jobs] == [143] * len(jobs)


def test_an_order_to_end_that_comes_while_the_exit_code_is_written_does_not_lose_it(tmp_path: Path) -> None:
    """It killed the mv that brings the file into its place."""
    jobs = [Job(tmp_path / str(n), JobSpec(name="x", shell="sleep 60"), own_group=True).place() for n in range(40)]
    for number, job in enumerate(jobs):
        script = job.start()
        eventually(lambda job=job: job.read(".job/started"))  # type: ignore[misc]
        eventually(lambda script=script: len(children_of(script.pid)) > 0)  # type: ignore[misc]
        for child in children_of(script.pid):
            os.kill(child, signal.SIGTERM)
        time.sleep(number * 0.0002)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(script.pid, signal.SIGTERM)
        assert script.wait(60) == 143
    assert [job.sentinel.exit_code for job in jobs] == [143] * len(jobs)


def test_an_order_to_end_that_comes_before_the_program_has_begun_ends_it_all_the_same(directory: Path) -> None:
    """It was noted, and the program ran on until it was killed."""
    job = Job(directory, JobSpec(name="x", shell="sleep 60", pre_commands=("kill -TERM $$",))).place()
    began = time.monotonic()
    assert job.run() == 143
    assert time.monotonic() - began < 30
    assert (job.sentinel.exit_code, job.sentinel.signal) == (143, "TERM")


def test_the_alarm_that_ends_a_job_of_flux_at_its_limit_ends_the_program_too(directory: Path) -> None:
    """Flux sends SIGALRM at the end of the walltime; bash died of it, and told the exit code 0."""
    job = shell(directory, "echo ready; sleep 60")
    assert warn(job, signal.SIGALRM) == 142
    assert (job.sentinel.exit_code, job.sentinel.signal) == (142, "ALRM")


@pytest.mark.parametrize("name", ["VTALRM", "XFSZ", "SYS", "ABRT", "SEGV", "BUS", "PIPE", "PROF"])
def test_a_script_that_dies_of_any_signal_does_not_tell_a_good_end(directory: Path, name: str) -> None:
    """Bash runs its EXIT trap then, with the status of the command before the wait."""
    job = shell(directory, "echo ready; sleep 1")
    assert warn(job, signal.Signals[f"SIG{name}"]) != 0
    assert job.sentinel.exit_code is None
    assert job.sentinel.started_at is not None


def test_a_pre_command_that_leaves_the_script_is_no_good_end(directory: Path) -> None:
    """The program has not run."""
    job = shell(directory, "touch ran", pre_commands=("exit 0",))
    job.run()
    assert job.sentinel.exit_code is None
    assert not (directory / "ran").exists()


def test_the_script_is_utf8_whatever_words_it_carries(directory: Path) -> None:
    """Flux refuses any other: 'does not appear to be a script, or failed to encode as utf-8'."""
    odd = os.fsdecode(b"g\xf6nn 'it' \xff\xfe\xc3\xb6 $(x)")
    job = shell(directory, "printf '%s|' \"$@\" \"$ODD\" # " + odd, args=(odd,), environment=(("ODD", odd),))
    assert job.script.read_bytes().decode("utf-8")
    assert job.run() == 0
    assert (directory / "stdout.log").read_bytes() == (os.fsencode(odd) + b"|") * 2


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_warning_that_the_program_survives_does_not_end_the_job(directory: Path) -> None:
    surviving = "trap 'echo warned; warned=1' USR1; echo ready; until [ $warned ]; do sleep 0.01; done; exit 5"
    job = shell(directory, surviving)
    process = job.start()
    eventually(lambda: "ready" in job.read("stdout.log"))
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=30)
    assert process.returncode == 5
    assert (job.sentinel.exit_code, job.sentinel.signal) == (5, "USR1")


def test_a_program_that_does_not_trap_the_signal_dies_of_it(directory: Path) -> None:
    job = shell(directory, "echo ready; exec sleep 600")
    process = job.start()
    eventually(lambda: "ready" in job.read("stdout.log"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert (job.sentinel.exit_code, job.sentinel.signal) == (143, "TERM")


def test_a_script_that_is_killed_leaves_no_exit_code(directory: Path) -> None:
    job = shell(directory, "echo ready; kill -KILL $PPID; sleep 0.1")
    job.run()
    assert job.sentinel.exit_code is None
    assert job.sentinel.started_at is not None


PATIENT = """\
import signal, sys, time
def warned(*_):
    print("checkpoint written", flush=True)
    sys.exit(0)
signal.signal(getattr(signal, "SIG" + sys.argv[1]), warned)
print("ready", flush=True)
time.sleep(60)
"""


def warn(job: Job, number: signal.Signals) -> int:
    process = job.start()
    eventually(lambda: "ready" in job.read("stdout.log"))
    process.send_signal(number)
    process.communicate(timeout=30)
    return process.returncode


def test_a_warning_reaches_the_program_inside_an_inline_script_which_goes_on(directory: Path) -> None:
    # only the inline script's own bash got it, and died of it: the checkpoint of a long job was lost
    job = shell(directory, f"{sys.executable} -IS p.py USR1\necho after")
    (directory / "p.py").write_text(PATIENT)
    assert warn(job, signal.SIGUSR1) == 0, job.read("stderr.log")
    assert job.read("stdout.log") == "ready\ncheckpoint written\nafter\n"
    assert (job.sentinel.exit_code, job.sentinel.signal) == (0, "USR1")


def test_a_warning_ends_none_of_those_that_do_not_listen(directory: Path) -> None:
    job = shell(directory, f"(sleep 0.5; {sys.executable} -IS p.py USR1) | tee seen | cat\necho after")
    (directory / "p.py").write_text(PATIENT)
    assert warn(job, signal.SIGUSR1) == 0, job.read("stderr.log")
    assert job.read("seen") == "ready\ncheckpoint written\n"


def test_a_warning_does_not_end_an_inline_script_that_cleans_up_at_its_exit(directory: Path) -> None:
    # bash catches every deadly signal for the sake of an EXIT trap
    job = shell(directory, "trap 'echo cleaned' EXIT; echo ready; sleep 0.5; echo after")
    assert warn(job, signal.SIGUSR1) == 0
    assert job.read("stdout.log") == "ready\nafter\ncleaned\n"


def test_a_termination_reaches_the_program_inside_an_inline_script_and_its_last_words_are_awaited(
    directory: Path,
) -> None:
    slow = PATIENT.replace("    print(", "    time.sleep(0.5)\n    print(").replace("sys.exit(0)", "sys.exit(143)")
    job = shell(directory, f"{sys.executable} -IS p.py TERM\necho never")
    (directory / "p.py").write_text(slow)
    assert warn(job, signal.SIGTERM) == 143
    assert job.read("stdout.log") == "ready\ncheckpoint written\n"


def test_a_warning_that_is_no_termination_reaches_a_direct_program(directory: Path) -> None:
    job = Job(directory, JobSpec(name="x", executable=sys.executable, args=("-IS", "p.py", "CONT"), signal_name="CONT"))
    job.place()
    (directory / "p.py").write_text(PATIENT)
    assert warn(job, signal.SIGCONT) == 0
    assert "checkpoint written" in job.read("stdout.log")


def test_a_job_cannot_run_its_own_script_again(directory: Path) -> None:
    # an input named like the script was replaced by it, and the program started it, until the walltime
    job = shell(directory, 'bash "$HPC_JOB_DIR/job.slurm"; echo never')
    assert job.run() == 71
    assert "run again from inside the job" in job.read("stderr.log")
    assert job.read("stdout.log") == ""


def test_what_the_script_writes_is_private_and_the_program_keeps_its_umask(directory: Path) -> None:
    job = shell(directory, "umask; touch made", secret_environment=(("TOKEN", "hunter2"),))
    before = os.umask(0o002)
    try:
        assert job.run() == 0
    finally:
        os.umask(before)
    written = [directory / "stdout.log", directory / "stderr.log"]
    written += [directory / ".job" / name for name in ("lock", "started", "exit_code", "times")]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in written} == {p.name: "0o600" for p in written}
    assert job.read("stdout.log") == "0002\n"
    assert (directory / "made").stat().st_mode & 0o777 == 0o664


def test_secret_values_arrive_and_do_not_stand_in_the_script(directory: Path) -> None:
    secrets = tuple((f"VALUE_{number}", value) for number, value in enumerate(NASTY))
    job = dumping(directory, secret_environment=(*secrets, ("TOKEN", "hunter2")))
    assert job.run() == 0, job.read("stderr.log")
    assert {name: job.dump["env"][name.encode()] for name, _ in secrets} == {n: os.fsencode(v) for n, v in secrets}
    assert "hunter2" not in job.script.read_text()
    assert "hunter2" not in repr(job.spec)


def test_a_secret_is_part_of_what_makes_two_jobs_equal() -> None:
    prints = {JobSpec(name="x", secret_environment=(("T", value),)).fingerprint("t", {}) for value in ("a", "b")}
    assert len(prints) == 2


# -- the steps before the program


def test_a_pre_command_that_fails_ends_the_job_with_its_own_words(directory: Path) -> None:
    # the predecessor ran the next line, and the program
    job = shell(directory, "echo never", pre_commands=("true", "false # broken", "echo nor this"))
    assert job.run() == 1
    assert job.sentinel.failure == "pre_command false # broken failed with exit code 1"
    assert job.sentinel.exit_code == 1
    assert job.read("stdout.log") == ""
    assert "pre_command false # broken failed" in job.read("stderr.log")


def test_a_pre_command_with_an_open_quote_fails_by_its_name(directory: Path) -> None:
    job = shell(directory, "echo never", pre_commands=("echo 'never closed",))

    assert job.run() != 0
    assert job.sentinel.failure.startswith("pre_command echo 'never closed failed with exit code")
    assert "never\n" not in job.read("stdout.log")


def test_a_pre_command_keeps_its_exit_code(directory: Path) -> None:
    job = shell(directory, "true", pre_commands=("( exit 42 )",))
    assert job.run() == 42


def test_pre_commands_change_the_environment_of_the_program(directory: Path) -> None:
    job = shell(directory, 'echo "$HERE"', pre_commands=("cd /tmp", "export HERE=$PWD"))
    assert job.run() == 0
    assert job.read("stdout.log") == "/tmp\n"
    assert job.sentinel.exit_code == 0  # written where it is looked for


def test_environment_stands_before_pre_commands(directory: Path) -> None:
    job = shell(directory, "true", environment=(("WORD", "hello"),), pre_commands=('echo "$WORD"',))
    job.run()
    assert job.read("stdout.log") == "hello\n"


def test_a_pipe_in_a_pre_command_fails_when_its_first_part_does(directory: Path) -> None:
    job = shell(directory, "true", pre_commands=("false | cat",))
    assert job.run() == 1


def with_modules(tmp_path: Path) -> dict[str, str]:
    """A module command as sites have one: a shell function, defined by an init file."""
    init = tmp_path / "init"
    init.mkdir()
    (init / "bash").write_text('module() { [ "$2" != absent ] && export LOADED="$LOADED $2"; }\n')
    return {"MODULESHOME": str(tmp_path), "HOME": str(tmp_path)}


def test_modules_are_loaded_in_order_before_the_program(tmp_path: Path, directory: Path) -> None:
    job = shell(directory, 'echo "$LOADED"', modules=("gcc/12", "open mpi"))
    job.environment = with_modules(tmp_path)
    assert job.run() == 0
    assert job.read("stdout.log") == " gcc/12 open mpi\n"


def test_a_module_that_cannot_be_loaded_ends_the_job(tmp_path: Path, directory: Path) -> None:
    # the predecessor went on without it
    job = shell(directory, "echo never", modules=("gcc/12", "absent"))
    job.environment = with_modules(tmp_path)
    assert job.run() == 1
    assert job.sentinel.failure == "module load absent failed with exit code 1"
    assert job.read("stdout.log") == ""


# -- one submission runs once


def test_a_second_copy_of_a_submission_steps_aside_and_changes_nothing(directory: Path) -> None:
    job = shell(directory, "echo ran; exit 3")
    assert job.run("42") == 3
    before = job.read(".job/exit_code")
    assert job.run("43") == DUPLICATE_EXIT_CODE
    assert b"job 42 is this same submission" in job.said
    assert job.read(".job/exit_code") == before
    assert job.read("stdout.log") == "ran\n"


def test_of_two_copies_that_start_together_one_runs(directory: Path) -> None:
    job = shell(directory, "echo ran")
    processes = [job.start(str(number)) for number in range(5)]
    for process in processes:
        process.communicate(timeout=60)
    assert sorted(process.returncode for process in processes) == [0, *[DUPLICATE_EXIT_CODE] * 4]
    assert job.read("stdout.log") == "ran\n"


def test_a_lock_that_a_dead_node_left_empty_dooms_no_job(directory: Path) -> None:
    # the lock was created first and written then: a full disk or a dead node in between stopped every later run with 94
    job = shell(directory, "echo ran")
    (directory / ".job" / "lock").touch()
    assert job.run("43") == 0
    assert job.read("stdout.log") == "ran\n"
    assert job.read(".job/lock") == "43\n"
    assert job.run("44") == DUPLICATE_EXIT_CODE
    assert job.run("43") == 0


def test_of_copies_that_meet_an_empty_lock_one_runs(directory: Path) -> None:
    job = shell(directory, "echo ran")
    (directory / ".job" / "lock").touch()
    processes = [job.start(str(number)) for number in range(5)]
    for process in processes:
        process.communicate(timeout=60)
    assert sorted(process.returncode for process in processes) == [0, *[DUPLICATE_EXIT_CODE] * 4]
    assert job.read("stdout.log") == "ran\n"


def test_without_hard_links_one_copy_runs_too(directory: Path) -> None:
    job = shell(directory, "echo ran")
    job.script.write_text(job.script.read_text().replace("command -p ln", "false"))
    processes = [job.start(str(number)) for number in range(5)]
    for process in processes:
        process.communicate(timeout=60)
    codes = [process.returncode for process in processes]
    assert codes.count(0) == 1
    assert set(codes) <= {0, 73, DUPLICATE_EXIT_CODE}
    assert job.read("stdout.log") == "ran\n"


def test_the_lock_is_whole_whenever_it_is_there(directory: Path) -> None:
    job = shell(directory, "true")
    process = job.start()
    seen = set()
    while process.poll() is None:
        path = directory / ".job" / "lock"
        seen.add(path.read_text() if path.exists() else "not there")
    process.communicate()
    assert seen <= {"not there", "42\n"}
    assert [path.name for path in (directory / ".job").glob("lock*")] == ["lock"]


def test_no_copy_of_a_closed_submission_runs(directory: Path) -> None:
    job = shell(directory, "echo ran")
    assert HOST.create(str(directory / ".job" / "lock"), b"closed\n")
    assert job.run("43") == DUPLICATE_EXIT_CODE
    assert b"closed before this copy of it began" in job.said
    assert job.read("stdout.log") == ""


def test_a_requeued_job_starts_again_and_its_first_end_is_forgotten(directory: Path) -> None:
    job = shell(directory, "echo again >>runs; if [ -e done ]; then exit 0; fi; touch done; exit 9")
    assert job.run("42") == 9
    assert job.run("42") == 0
    assert job.sentinel.exit_code == 0
    assert job.read("runs") == "again\nagain\n"


def test_while_a_requeued_job_runs_it_has_no_exit_code(directory: Path) -> None:
    job = shell(directory, "if [ -e done ]; then echo ready; sleep 600; fi; touch done; exit 9")
    job.run("42")
    process = job.start("42")
    eventually(lambda: "ready" in job.read("stdout.log"))
    assert job.sentinel.exit_code is None
    process.terminate()
    process.communicate(timeout=30)


def test_each_element_of_an_array_has_a_lock_of_its_own(directory: Path) -> None:
    job = Job(directory, JobSpec(name="x", shell="true", elements=(("a",), ("b",)))).place()
    assert [job.run(str(n), SLURM_ARRAY_TASK_ID=str(n)) for n in range(2)] == [0, 0]


def test_one_listing_tells_which_elements_of_an_array_have_ended(directory: Path) -> None:
    job = Job(directory, JobSpec(name="x", shell='[ ! -e "$HPC_JOB_DIR/.job/ended/0" ]', elements=(("a",), ("b",))))
    job.place()
    job.run("7", SLURM_ARRAY_TASK_ID="0")
    assert os.listdir(directory / ".job" / "ended") == ["0"]
    job.run("8", SLURM_ARRAY_TASK_ID="1")
    assert sorted(os.listdir(directory / ".job" / "ended")) == ["0", "1"]
    assert job.run("7", SLURM_ARRAY_TASK_ID="0") == 0  # while it runs again, it has not ended


def test_a_node_that_does_not_see_the_directory_says_so(tmp_path: Path, directory: Path) -> None:
    job = shell(directory, "true")
    elsewhere = tmp_path / "job.slurm"
    elsewhere.write_text(job.script.read_text().replace(str(directory), "/not/mounted"))
    done = subprocess.run(["bash", str(elsewhere)], capture_output=True, env={"SLURM_JOB_ID": "42"})
    assert done.returncode == 72
    assert b"this node cannot enter /not/mounted" in done.stderr


def test_a_node_that_cannot_write_says_so_and_is_no_duplicate(directory: Path) -> None:
    job = shell(directory, "true")
    (directory / ".job" / "command.sh").unlink()
    (directory / ".job").rmdir()
    assert job.run() == 73
    assert b"cannot write to" in job.said
    assert b"same submission" not in job.said


def test_a_pre_command_that_fails_elsewhere_leaves_its_words_with_the_job(directory: Path) -> None:
    job = shell(directory, "true", pre_commands=("cd /", "false"))
    assert job.run() == 1
    assert job.sentinel.failure == "pre_command false failed with exit code 1"


# -- what no script can say


@pytest.mark.parametrize(
    "directive", ["#BSUB -q secret", "#SBATCH -p secret", "# flux: --queue=secret", "#$ -q secret"]
)
def test_no_line_of_the_script_begins_with_a_directive_that_came_from_an_argument(directive: str) -> None:
    given = f"a\n{directive}\nb"
    spec = JobSpec(name="x", executable="/bin/echo", args=(given,), environment=(("E", given),), pre_commands=(given,))
    script = render_script(spec, SLURM, directory="/x", token="abcd2345")
    assert directive not in script.splitlines()


def test_a_comment_in_an_inline_script_is_no_directive_of_flux() -> None:
    script = render_script(JobSpec(name="x", shell="# flux: --queue=q"), SLURM, directory="/x", token="abcd2345")
    assert not re.search(r"^[^\w]*flux:", script, re.MULTILINE)


@pytest.mark.parametrize("bad", ["a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("scheduler", [SLURM, Local()], ids=["slurm", "local"])
def test_a_line_break_in_a_directive_is_refused(scheduler: Scheduler, bad: str) -> None:
    with pytest.raises(ConfigurationError, match="line break"):
        render_script(JobSpec(name="x", directives=(f"#SBATCH {bad}",)), scheduler, directory="/x", token="abcd2345")


def test_what_cannot_be_quoted_is_found_before_it_is_written() -> None:
    faults = quoting_faults({"argument 1": "a\0b", "argument 2": "\ud800", "argument 3": os.fsdecode(b"\xff")})
    assert [fault.split(" contains")[0] for fault in faults] == ["argument 1", "argument 2"]


# -- a site's own template


def test_a_site_template_may_extend_the_packaged_one(tmp_path: Path, directory: Path) -> None:
    site = tmp_path / "site.sh.j2"
    site.write_text(
        '{% extends "slurm.sh.j2" %}\n'
        "{% block directives %}{{ super() }}#SBATCH --licenses=matlab\n{% endblock %}\n"
        "{% block prepare %}{{ super() }}export SITE={{ spec.name|quote }}\n{% endblock %}\n"
    )
    spec = JobSpec(name="it's", shell='echo "$SITE"')
    job = Job(directory, spec, template=str(site)).place()
    assert job.run() == 0
    assert job.read("stdout.log") == "it's\n"
    assert "\n#SBATCH --licenses=matlab\n" in job.script.read_text()
    assert "#SBATCH --nodes=1\n" in job.script.read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{% if %}", "cannot be rendered"),
        ("{{ spec.nonsense }}", "nonsense"),
        ("{{ nonsense }}", "nonsense"),
        ('{% extends "absent.sh.j2" %}', "absent.sh.j2"),
        ("{{ 'x' | nofilter }}", "nofilter"),
    ],
)
def test_a_broken_template_is_an_error_that_names_it(tmp_path: Path, content: str, words: str) -> None:
    site = tmp_path / "site.sh.j2"
    site.write_text(content)
    with pytest.raises(ConfigurationError, match=words) as refused:
        render_script(JobSpec(name="x"), SLURM, directory="/x", token="abcd2345", template=str(site))
    assert str(site) in str(refused.value)


def test_a_template_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        render_script(JobSpec(name="x"), SLURM, directory="/x", token="abcd2345", template=f"{tmp_path}/absent.j2")


def test_a_changed_template_is_used_at_once(tmp_path: Path) -> None:
    site = tmp_path / "site.sh.j2"
    texts = []
    for number in (1, 2):
        site.write_text(f"#!/bin/bash\n# edition {number}\n")
        os.utime(site, (number, number))
        texts.append(render_script(JobSpec(name="x"), SLURM, directory="/x", token="t", template=str(site)))
    assert texts == ["#!/bin/bash\n# edition 1\n", "#!/bin/bash\n# edition 2\n"]


def test_the_same_request_gives_the_same_script() -> None:
    spec = JobSpec(name="x", shell="true", environment=(("B", "2"), ("A", "1")))
    scripts = {render_script(replace(spec), SLURM, directory="/x", token="abcd2345") for _ in range(3)}
    assert len(scripts) == 1
