"""What a request says reaches the program, whatever it looks like and whatever runs it."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, ConfigurationError, ExecutionProfile, JobFailed, JobState
from tests.contract.site import Site
from tests.faults.place import ALL_KEYS, PLAIN, asset_of, metadata_of, run_failing
from tests.faults.test_requests import WORDS
from tests.launchers.test_launchers import ROOT_MAY

DUMP = """\
printf '%s\\0' "$@" >seen
for number in $(seq 0 $(($# - 1))); do name=WORD_$number; printf '%s\\0' "${!name}" >>seen; done
cat >stdin
"""


def test_words_arrive_byte_for_byte(site: Site) -> None:
    words = list(WORDS.values())
    command = Command.shell(DUMP, args=words, name="it's $(a) größe\nname", stdin="\n".join(words))
    profile = site.system.profile(environments={f"WORD_{number}": word for number, word in enumerate(words)})
    result = site.hpc.run(command, profile=profile, outputs={"seen": "seen", "stdin": "stdin"})
    seen = Path(result.outputs["seen"]).read_bytes().removesuffix(b"\0").split(b"\0")
    assert seen == [os.fsencode(word) for word in words] * 2
    assert Path(result.outputs["stdin"]).read_bytes() == os.fsencode("\n".join(words))


@pytest.mark.parametrize("name", ["with blanks", "it's", 'a "quote"', "größe", "50%j#x", "$(touch pwned)", "a:b,c"])
def test_a_strange_work_root_works_or_is_refused(site: Site, name: str) -> None:
    """Some systems cannot write a log there: they say so while nothing is submitted."""
    root = site.folder / name
    hpc = site.runner(work_root=str(root))
    handle, refusal = None, ""
    try:
        handle = hpc.submit(Command.shell("pwd"), profile=PLAIN)
    except ConfigurationError as error:
        refusal = str(error)
    if handle:
        assert hpc.wait(handle).stdout_tail.startswith(str(root))
    else:
        assert name in refusal
        assert site.rows() == []
    assert not list(site.folder.rglob("pwned"))


@pytest.mark.needs("mpi")
def test_mpirun_starts_two_ranks(site: Site) -> None:
    oversubscribe = {
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    profile = site.system.profile(mpiprocs=2, launcher="mpirun", environments={**ROOT_MAY, **oversubscribe})
    result = site.hpc.run(Command("/usr/bin/printenv", args=["OMPI_COMM_WORLD_RANK"]), profile=profile)
    assert sorted(result.stdout_tail.split()) == ["0", "1"]


@pytest.mark.needs("modules")
def test_a_module_that_does_not_load_fails_the_job(site: Site) -> None:
    profile = site.system.profile(modules=["no-such-module"])
    hpc = site.hpc
    error = run_failing(lambda: hpc.run(Command.shell("touch ran"), profile=profile), JobFailed)
    assert error.result.state is JobState.FAILED
    assert error.result.reason == "module load no-such-module failed with exit code 1"
    assert not Path(error.result.handle.work_dir, "ran").exists()


def test_an_asset_tells_the_same_on_every_system(site: Site) -> None:
    asset = asset_of(Command.shell("echo told"))
    metadata = metadata_of(dg.materialize([asset], resources={"hpc": site.hpc}))
    assert set(metadata) - {"path"} == ALL_KEYS  # the path is the IO manager's
    assert (metadata["state"], metadata["exit_code"], metadata["scheduler"]) == ("COMPLETED", 0, site.scheduler.system)
    assert "told" in metadata["stdout_tail"]
    assert metadata["job_id"]
    assert metadata["elapsed_s"] is not None
    assert metadata["queue_wait_s"] is not None


def test_the_script_that_is_shown_is_the_one_that_runs(site: Site) -> None:
    hpc, command = site.hpc, Command.shell("true", name="shown")
    profile: ExecutionProfile = site.system.profile()
    result = hpc.run(command, profile=profile)
    shown = hpc.render(command, profile=profile)
    token = result.handle.token
    assert result.script == shown.replace("0" * len(token), token)
