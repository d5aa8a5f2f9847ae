"""System-wide, user's and project's file: which are read, and which goes before which."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dagster_hpc import ConfigurationError, Site, SlurmTarget
from dagster_hpc.site.files import read_site

SYSTEM = """\
work_root = "/scratch"
[targets.cluster]
kind = "slurm"
queue_cpu = "regular"
project_cpu = "shared"
[profiles.small]
walltime = "00:05:00"
"""
USER = """\
[targets.cluster]
project_cpu = "ab12"
"""
PROJECT = """\
[profiles.small]
mpiprocs = 4
launcher = "srun"
[profiles.large]
extends = "small"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, a home and a site's folder for all; in the project we are."""
    project = tmp_path / "project"
    for folder in (project, tmp_path / "apps", tmp_path / "config" / "dagster_hpc"):
        folder.mkdir(parents=True)
    (project / "pyproject.toml").touch()
    monkeypatch.setenv("DAGSTER_HPC_SITE", str(tmp_path / "apps" / "site.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(project)
    (tmp_path / "apps" / "site.toml").write_text(SYSTEM)
    (tmp_path / "config" / "dagster_hpc" / "site.toml").write_text(USER)
    (project / "site.toml").write_text(PROJECT)
    return project


def test_all_three_are_read_and_the_nearer_one_goes_before_key_by_key(project: Path) -> None:
    site = Site.load()

    target, profile = site.targets["cluster"], site.profiles["large"]
    assert isinstance(target, SlurmTarget)
    assert (target.queue_cpu, target.project_cpu) == ("regular", "ab12")
    assert (profile.walltime, profile.mpiprocs) == ("00:05:00", 4)


def test_each_value_knows_its_file(project: Path, tmp_path: Path) -> None:
    settings = read_site(os.environ, Path.cwd())

    assert str(settings.place("targets", "cluster", "queue_cpu")) == f"{tmp_path}/apps/site.toml:4"
    assert str(settings.place("targets", "cluster", "project_cpu")) == f"{tmp_path}/config/dagster_hpc/site.toml:2"
    assert str(settings.place("profiles", "small", "mpiprocs")) == "site.toml:2"


def test_a_mistake_is_told_with_the_file_in_which_it_is(project: Path, tmp_path: Path) -> None:
    (tmp_path / "apps" / "site.toml").write_text(SYSTEM + "walltme = 1\n")
    (project / "site.toml").write_text("[profiles.large]\nextends = 'tiny'\n")

    with pytest.raises(ConfigurationError) as caught:
        Site.load()

    assert caught.value.faults == [
        f"{tmp_path}/apps/site.toml:8: a profile has no key 'walltme': did you mean 'walltime'?",
        "site.toml:2: profile 'large' extends 'tiny', which there is not: known are: small",
    ]


def test_the_file_that_is_named_is_read_alone(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="the site has no target"):
        Site.load("site.toml")


def test_the_project_file_is_found_from_below_and_not_beyond_the_project(project: Path, tmp_path: Path) -> None:
    (project / "jobs").mkdir()
    os.chdir(project / "jobs")
    assert "large" in Site.load().profiles

    (project / "site.toml").rename(tmp_path / "site.toml")
    assert "large" not in Site.load().profiles


def test_files_that_are_no_toml_are_all_told(project: Path, tmp_path: Path) -> None:
    (tmp_path / "apps" / "site.toml").write_text("a = \n")
    (project / "site.toml").write_bytes(b"\xff")

    with pytest.raises(ConfigurationError) as caught:
        Site.load()

    first, second = caught.value.faults
    assert first.startswith(f"{tmp_path}/apps/site.toml:1: this is no TOML")
    assert second.startswith("site.toml is no UTF-8")


def test_no_file_at_all_is_told_with_the_places_and_how_to_write_one(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere.toml cannot be read.*(\n.*)*dagster-hpc site new"):
        Site.load("nowhere.toml")

    (tmp_path / "apps" / "site.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"DAGSTER_HPC_SITE is '.*', and there is no such file"):
        Site.load()

    monkeypatch.delenv("DAGSTER_HPC_SITE")
    monkeypatch.setattr("dagster_hpc.site.files.SYSTEM_WIDE", tmp_path / "etc" / "site.toml")
    (project / "site.toml").unlink()
    (tmp_path / "config" / "dagster_hpc" / "site.toml").unlink()
    with pytest.raises(ConfigurationError, match=f"there is no site file: {tmp_path}/etc/site.toml, "):
        Site.load()
