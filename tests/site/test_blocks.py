"""What becomes of the blocks of qcsc-prefect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dagster_hpc import ConfigurationError, FugakuTarget, Site, SlurmTarget
from dagster_hpc.site.blocks import Imported, import_blocks

COMMAND = {"command_name": "count-bits", "executable_key": "bitcount", "description": "Counts.", "default_args": ["-v"]}
PROFILE = {
    "profile_name": "mpi-16", "command_name": "count-bits", "resource_class": "cpu", "num_nodes": 2, "mpiprocs": 8,
    "ompthreads": None, "walltime": "01:00:00", "launcher": "srun", "mpi_options": [], "modules": ["openmpi"],
    "pre_commands": ["ulimit -s unlimited"], "environments": {"A": "1"},
}  # fmt: skip
TARGET = {
    "hpc_target": "slurm", "queue_cpu": "regular", "queue_gpu": "accel", "project_cpu": "ab12", "project_gpu": "",
    "executable_map": {"bitcount": "/apps/bitcount"}, "slurm_qpu": "qpu1", "gfscache": None, "spack_modules": [],
}  # fmt: skip
FLAT = """\
hpc_target = "fugaku"
group = "ab12"
queue = "small"
work_dir = "/vol0004/ab12/work"
dice_executable = "/vol0004/ab12/Dice"
launcher = "mpiexec"
mpiprocs = 2
walltime = "01:00:00"
fugaku_gfscache = "/vol0004:/vol0002"
fugaku_pjm_resources = ["freq=2000"]
execution_profile_block_name = "exec-dice-mpi"
solver_block_name = "solver"
shots = 100000
"""


def imported(folder: Path, **texts: str) -> Imported:
    paths = []
    for name, text in texts.items():
        form, _, stem = name.partition("_")
        paths.append(folder / f"{stem}.{form}")
        paths[-1].write_text(text)
    return import_blocks(paths)


def site(found: Imported, folder: Path) -> Site:
    (folder / "site.toml").write_text(found.text())
    return Site.load(folder / "site.toml", environ={})


def test_three_blocks_become_a_site_and_a_line_of_python(tmp_path: Path) -> None:
    blocks = {"cmd-count": COMMAND, "exec-mpi-16": PROFILE, "hpc-lab": TARGET}
    found = imported(tmp_path, json_blocks=json.dumps(blocks))

    made = site(found, tmp_path)
    profile, target = made.profiles["mpi-16"], made.targets["slurm"]

    assert (profile.num_nodes, profile.mpiprocs, profile.launcher, profile.modules) == (2, 8, "srun", ["openmpi"])
    assert isinstance(target, SlurmTarget)
    assert (target.queue_cpu, target.project_cpu, target.qpu) == ("regular", "ab12", "qpu1")
    assert target.executable("bitcount") == "/apps/bitcount"
    python = '# count_bits = Command("bitcount", args=["-v"], name="count-bits", description="Counts.")'
    assert python in found.text().splitlines()
    assert found.left == []


def test_blocks_may_come_from_several_files_and_lie_deep(tmp_path: Path) -> None:
    found = imported(
        tmp_path,
        json_saved=json.dumps([{"name": "mine", "data": PROFILE}]),
        toml_target='[blocks.hpc-lab]\nhpc_target = "slurm"\nqueue_cpu = "regular"\nslurm_memory = "4G"\n',
    )
    assert list(site(found, tmp_path).profiles) == ["mpi-16"]
    assert list(found.targets) == ["slurm"]
    assert found.left == ["hpc-lab: slurm_memory"]


def test_two_targets_of_one_kind_have_two_names(tmp_path: Path) -> None:
    found = imported(tmp_path, json_blocks=json.dumps({"hpc-one": TARGET, "hpc-two": {**TARGET, "queue_cpu": "long"}}))
    assert {name: said["queue_cpu"] for name, said in found.targets.items()} == {"slurm": "regular", "hpc-two": "long"}


def test_a_flat_configuration_becomes_a_site_and_what_has_no_place_is_told(tmp_path: Path) -> None:
    found = imported(tmp_path, toml_dice=FLAT)

    hpc = site(found, tmp_path).runner()

    assert isinstance(hpc.target, FugakuTarget)
    assert (hpc.target.queue_cpu, hpc.target.project_cpu, hpc.target.gfscache) == ("small", "ab12", "/vol0004:/vol0002")
    assert hpc.target.executable("dice") == "/vol0004/ab12/Dice"
    assert (hpc.profile("dice-mpi").launcher, hpc.work_root) == ("mpiexec", "/vol0004/ab12/work")
    assert found.left == ["dice: shots"]


def test_files_without_blocks_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no block of qcsc-prefect is in"):
        imported(tmp_path, toml_other="[tool]\nname = 'x'\n")
    with pytest.raises(ConfigurationError, match="hpc_target is 'mars'"):
        imported(tmp_path, toml_other="hpc_target = 'mars'\nqueue_cpu = 'x'\n")
    with pytest.raises(ConfigurationError, match=r"other.json is neither TOML nor JSON"):
        imported(tmp_path, json_other="{")
