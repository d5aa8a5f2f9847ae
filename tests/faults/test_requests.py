"""Wrong requests are told whole and at once, before anything exists; strange but legal words arrive byte for byte."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dagster_hpc import Command, ConfigurationError
from dagster_hpc.engine.job import JobSpec, Request
from tests.faults.place import PLAIN, Place, materialize, nothing_submitted, run_failing

LONG = "x" * 100_000
WORDS = {
    "newline": "one\ntwo\n",
    "carriage return": "one\r\ntwo",
    "quotes": """it's "quoted" \\' and \\\\""",
    "substitution": "$(touch pwned) `touch pwned` ${HOME} !! %s %j %a",
    "unicode": "größe 水 🎲 \u200b\u0301",
    "bytes": os.fsdecode(b"\xff\xfe not utf-8"),
    "blanks": "  \t ",
    "empty": "",
    "option": "-n",
    "glob": "* ? [a-z] ~ {a,b} # comment ; & | > <",
    "100 kB": LONG,
}
DUMP = """\
import os, sys
words = [os.fsencode(word) for word in sys.argv[1:]] + [os.environb[b"FAULT_%d" % n] for n in range(int(sys.argv[1]))]
open("seen", "wb").write(b"\\0".join(words))
"""


# ---------------------------------------------------------------------- refused before there is anything


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"profile": "plian"}, "there is no execution profile 'plian': did you mean 'plain'?"),
        ({"overrides": {"walltme": "1h"}}, "overrides has no key 'walltme': did you mean 'walltime'?"),
        ({"overrides": {"resource_class": "gpu"}}, "overrides has no key 'resource_class'"),
        ({"overrides": {"walltime": "soon"}}, "walltime 'soon' is none of HH:MM:SS, D-HH:MM:SS, 90m, 1h30m"),
        ({"overrides": {"walltime": "10:00"}}, "write HH:MM:SS"),
        ({"overrides": {"walltime": "0"}}, "walltime '0' is not between a second and ten years"),
        ({"overrides": {"memory_per_node": "16"}}, "memory '16' is not a number with a unit"),
        ({"overrides": {"memory_per_node": "many"}}, "memory 'many' is not a number with a unit"),
        ({"overrides": {"num_nodes": 0}}, "overrides: num_nodes: Input should be greater than 0"),
        ({"overrides": {"qos": "high\n#SBATCH --account=other"}}, "may not contain a line break"),
        ({"overrides": {"modules": ["gcc\0"]}}, "may not contain a line break or NUL"),
        ({"overrides": {"environments": {"A-B": "1"}}}, "'A-B' is no name for an environment variable"),
        ({"overrides": {"environments": {"A": "a\0b"}}}, "environments[A] contains a NUL character"),
        ({"overrides": {"environments": {"A": "x" * 200_000}}}, "environments[A] is longer than the 131071 bytes"),
        ({"args": ["a\0b"]}, "argument 1 contains a NUL character"),
        ({"args": ["ok", "x" * 200_000]}, "argument 2 is longer than the 131071 bytes"),
        ({"inputs": {"../outside": "x"}}, "input '../outside' is no file path inside the job's directory"),
        ({"inputs": {"a\nb": "x"}}, "input 'a\\nb' contains a line break or NUL"),
        ({"inputs": {"a": Path("/no/such/file")}}, "the input 'a' cannot be read"),
        ({"outputs": {"a": "a\0b"}}, "output 'a\\x00b' contains a line break or NUL"),
    ],
)
def test_a_bad_request_leaves_no_trace(place: Place, wishes: dict[str, Any], words: str) -> None:
    hpc = place.runner()
    error = run_failing(lambda: hpc.run(Command("/bin/true"), **{"profile": PLAIN, **wishes}), ConfigurationError)
    assert words in str(error)
    nothing_submitted(place)


def test_an_unknown_executable_is_told_with_the_nearest_one(place: Place) -> None:
    hpc = place.runner(target={"executable_map": {"bitcount": "/apps/bitcount", "dice": "/apps/Dice"}})
    error = run_failing(lambda: hpc.run(Command("bitcuont"), profile=PLAIN), ConfigurationError)
    assert "executable 'bitcuont' is not in the executable_map" in str(error)
    assert "did you mean 'bitcount'?" in str(error)
    nothing_submitted(place)


def test_all_faults_are_told_at_once(place: Place) -> None:
    hpc = place.runner()
    wishes = {"walltime": "soon", "memory_per_node": "many", "qos": "a\nb", "environments": {"1A": "x"}, "mpiprocs": 4}
    error = run_failing(
        lambda: hpc.run(Command("nope", args=["a\0"]), profile=PLAIN, overrides=wishes), ConfigurationError
    )
    assert len(error.faults) == 7, error.faults
    for word in ("walltime 'soon'", "memory 'many'", "qos is", "'1A'", "executable 'nope'", "argument 1", "4 ranks"):
        assert any(word in fault for fault in error.faults), word
    assert "What to do: " in str(error)
    nothing_submitted(place)


def test_several_unknown_keys_are_told_at_once(on_local: Place) -> None:
    hpc = on_local.runner()
    error = run_failing(
        lambda: hpc.run(Command("/bin/true"), profile=PLAIN, overrides={"wall": "1h", "nodes": 2}), ConfigurationError
    )
    assert [re.findall("'(.+?)'", fault) for fault in error.faults] == [["wall", "walltime"], ["nodes", "num_nodes"]]


def test_in_an_asset_it_fails_the_step_for_good(on_local: Place) -> None:
    """A retry would meet the same fault."""
    import dagster as dg

    with pytest.raises(dg.Failure, match="did you mean 'walltime'") as caught:
        materialize(on_local, Command("/bin/true"), overrides={"walltme": "1h"})
    assert caught.value.allow_retries is False
    nothing_submitted(on_local)


# ---------------------------------------------------------------------- strange words on their whole way


def test_words_arrive_byte_for_byte(place: Place) -> None:
    """As arguments, in the environment, as stdin and in the paths of work_root, program and inputs."""
    nasty = place.folder / """it's "$(touch pwned)" größe %j %% #x"""
    nasty.mkdir()
    program = nasty / "line\nbreak"
    program.write_text(f"#!{sys.executable}\n{DUMP}")
    program.chmod(0o755)
    words = list(WORDS.values())
    command = Command(
        str(program),
        args=[str(len(words)), *words],
        name="it's $(a) größe\nname",
        inputs={"sub $(dir)/größe 'n'": b"\0\xff\n"},
    )
    hpc = place.runner(work_root=str(nasty / "work"))
    environments = {f"FAULT_{number}": word for number, word in enumerate(words)}
    result = hpc.run(command, profile=PLAIN, overrides={"environments": environments}, outputs={"seen": "seen"})
    seen = Path(result.outputs["seen"]).read_bytes().split(b"\0")
    expected = [os.fsencode(word) for word in words]
    assert seen == [str(len(words)).encode(), *expected, *expected]
    assert Path(result.handle.work_dir, "sub $(dir)/größe 'n'").read_bytes() == b"\0\xff\n"
    assert result.handle.work_dir.startswith(str(nasty))
    assert not list(place.folder.rglob("pwned"))


def test_words_of_array_elements_arrive_byte_for_byte(place: Place) -> None:
    program = f"import os, sys; open('seen', 'wb').write(os.fsencode(sys.argv[1]))"  # noqa: F541
    results = place.runner().map(
        Command(sys.executable, args=["-c", program]), [[word] for word in WORDS.values()], profile=PLAIN
    )
    for result, word in zip(results, WORDS.values(), strict=True):
        assert result.succeeded
        assert Path(result.handle.work_dir, "seen").read_bytes() == os.fsencode(word)


def test_standard_input_arrives_byte_for_byte(place: Place) -> None:
    stdin = "\n".join(WORDS.values())
    result = place.runner().run(
        Command("/bin/cp", args=["/dev/stdin", "seen"], stdin=stdin), profile=PLAIN, outputs={"seen": "seen"}
    )
    assert Path(result.outputs["seen"]).read_bytes() == os.fsencode(stdin)


@pytest.mark.parametrize("name", ["A", "A_LONGER_NAME"])
def test_the_longest_words_that_linux_takes_arrive(on_local: Place, name: str) -> None:
    """An environment entry is `NAME=value`: its name counts too."""
    most = 128 * 1024 - 1
    hpc = on_local.runner()
    program = "import os, sys; print(len(sys.argv[1]), len(os.environ[sys.argv[2]]))"
    value = "x" * (most - len(f"{name}="))
    command = Command(sys.executable, args=["-c", program, "x" * most, name])
    result = hpc.run(command, profile=PLAIN, overrides={"environments": {name: value}})
    assert result.stdout_tail == f"{most} {len(value)}"
    error = run_failing(
        lambda: hpc.run(command, profile=PLAIN, overrides={"environments": {name: value + "x"}}), ConfigurationError
    )
    assert "put it into an input file" in str(error)


@pytest.mark.parametrize("root", ["line\nbreak", "nul\0"])
def test_a_work_root_that_no_script_can_name_is_refused(place: Place, root: str) -> None:
    hpc = place.runner(work_root=str(place.folder / root))
    error = run_failing(lambda: hpc.run(Command("/bin/true"), profile=PLAIN), ConfigurationError)
    assert "line break" in str(error)
    nothing_submitted(place)


@pytest.mark.needs("slurm")
def test_an_array_larger_than_slurm_takes_goes_in_parts(on_slurm: Place) -> None:
    """It was refused, with advice to ask for fewer elements."""
    engine = on_slurm.runner()._engine()
    spec = JobSpec(name="many", shell="true", elements=((),) * 502, directives=("#SBATCH --hold",))
    handles = engine.submit(Request(spec, str(on_slurm.folder / "work")))
    try:
        sizes = Counter(handle.token.partition(".")[0] for handle in handles)
        assert list(sizes.values()) == [501, 1]  # MaxArraySize of this cluster
        assert all(handle.job_id for handle in handles)
    finally:
        engine.cancel(handles)
