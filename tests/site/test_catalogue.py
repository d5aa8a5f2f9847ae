"""Targets and profiles from a file: what each target gets, and what is said of a file that is wrong."""

from __future__ import annotations

from getpass import getuser
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import Command, ConfigurationError, HPCJobRunner, LocalTarget, Site, SlurmTarget, hpc_asset
from dagster_hpc.testing import Play, PlayedRunner

SITE = """\
default_target = "cluster"
default_profile = "small"
work_root = "/scratch/$WHO/dagster"

[[retry]]
on = ["TIMEOUT"]
walltime = 2.0

[targets.cluster]
kind = "slurm"
description = "The department's machine."
queue_cpu = "regular"
executable_map = { bitcount = "$APPS/bitcount" }

[targets.cluster.limits."*"]
max_memory_per_node = "180G"
[targets.cluster.limits.regular]
max_nodes = 16
max_walltime = "24:00:00"
[targets.cluster.limits.long]
max_nodes = 4
max_walltime = "7-00:00:00"

[targets.debug]
extends = "cluster"
queue_cpu = "debug"

[targets.laptop]
kind = "local"
work_root = "~/jobs"
executable_map.bitcount = "/usr/local/bin/bitcount"

[profiles.small]
description = "A single core for five minutes."
[profiles.mpi]
description = "Ranks on one node."
launcher = "srun"
mpiprocs = 8
modules = ["openmpi/4"]
environments = { LEVEL = "1", COLOUR = "no" }
[profiles.mpi.on.laptop]
launcher = "mpirun"
modules = []
[profiles.mpi-16]
extends = "mpi"
num_nodes = 2
environments.LEVEL = "2"
targets = ["cluster", "debug"]
[profiles.mpi-long]
extends = "mpi-16"
walltime = "20:00:00"
"""
ENVIRON = {"WHO": "me", "APPS": "/apps"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, from which files are named as `site.toml`."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    monkeypatch.chdir(folder)
    return folder


def load(text: str = SITE, /, **environ: str) -> Site:
    Path("site.toml").write_text(text)
    return Site.load("site.toml", environ=environ)


def faults(text: str, /, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(text, **environ)
    return caught.value.faults


# -- what is in it


def test_the_runner_is_on_the_default_target_with_the_sites_settings(folder: Path) -> None:
    hpc = load().runner()

    assert isinstance(hpc.target, SlurmTarget)
    assert hpc.target.queue_cpu == "regular"
    assert hpc.target.executable("bitcount") == "/apps/bitcount"
    assert (hpc.folder, hpc.retry[0].walltime) == ("/scratch/me/dagster", 2.0)
    assert hpc.profile("").description == "A single core for five minutes."


def test_a_target_may_extend_another_and_have_settings_of_its_own(folder: Path) -> None:
    site = load()

    assert site.targets["debug"].executable_map == site.targets["cluster"].executable_map
    assert (site.targets["debug"].queue_cpu, site.targets["debug"].description) == ("debug", "")
    assert isinstance(site.runner("laptop").target, LocalTarget)
    assert site.runner("laptop").folder == str(folder.parent / "home" / "jobs")


def test_a_profile_has_what_it_extends_over_several_levels(folder: Path) -> None:
    profile = load().runner().profile("mpi-long")

    assert (profile.walltime, profile.num_nodes, profile.mpiprocs, profile.launcher) == ("20:00:00", 2, 8, "srun")
    assert profile.environments == {"LEVEL": "2", "COLOUR": "no"}
    assert profile.description == ""  # it is another one than those


def test_a_profile_may_differ_on_one_target(folder: Path) -> None:
    site = load()

    assert site.runner("laptop").profile("mpi").launcher == "mpirun"
    assert site.runner("laptop").profile("mpi").modules == []
    assert site.runner("debug").profile("mpi").launcher == "srun"
    assert site.profiles["mpi"].launcher == "srun"


def test_a_profile_that_is_for_other_targets_is_not_offered_and_says_where_it_is(folder: Path) -> None:
    hpc = load().runner("laptop")

    assert list(hpc.profiles) == ["small", "mpi"]
    with pytest.raises(ConfigurationError, match=r"'mpi-16' is not for this target: it is for cluster, debug \(site.toml:"):
        hpc.profile("mpi-16")


def test_a_secret_is_named_and_not_written(folder: Path) -> None:
    hpc = load(SITE + 'environments.SECRET = { env = "HOME" }\n').runner()

    assert hpc.profile("mpi-long").secret_environments == ["SECRET"]
    assert "SECRET" not in hpc.render(Command("bitcount"), profile="mpi-long")


def test_the_ledgers_password_need_not_stand_in_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER", f"sqlite:///{folder}/other.db")
    hpc = load('ledger_url = { env = "LEDGER" }\n' + SITE).runner("laptop")

    assert hpc.jobs() == []
    assert (folder / "other.db").exists()


def test_a_variable_that_is_not_set_here_matters_to_its_target_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("APPS")
    site = load()

    assert site.runner("laptop").target.executable("bitcount") == "/usr/local/bin/bitcount"
    with pytest.raises(ConfigurationError, match=r"site.toml:13: '\$APPS/bitcount' names \$APPS, which is not set here"):
        site.runner("cluster")


def test_a_variable_in_the_path_of_a_profile_matters_to_the_targets_that_it_is_for(folder: Path) -> None:
    site = load(SITE + '[profiles.image]\ncontainer = "$NOWHERE/a.sif"\ntargets = ["cluster"]\n')

    assert "image" not in site.runner("debug").profiles
    with pytest.raises(ConfigurationError, match=r"'\$NOWHERE/a.sif' names \$NOWHERE, which is not set here"):
        site.runner("cluster")


def test_a_daemon_without_user_has_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER", raising=False)
    assert load(SITE.replace("$WHO", "${USER}")).runner().folder == f"/scratch/{getuser()}/dagster"


def test_the_only_target_is_the_default(folder: Path) -> None:
    one = 'work_root = "/w"\n[targets.a]\nkind = "local"\n'

    assert isinstance(load(one).runner().target, LocalTarget)
    with pytest.raises(ConfigurationError, match="several targets and no default_target: a, b"):
        load(one + '[targets.b]\nkind = "sge"\n').runner()
    with pytest.raises(ConfigurationError, match="no target 'clster': did you mean 'cluster'"):
        load().runner("clster")


def test_the_page_of_the_resource_says_what_target_and_profiles_are_for(folder: Path) -> None:
    assert load().runner().get_resource_definition().description == (
        "Runs commands as batch jobs on SlurmTarget: The department's machine.\n\n"
        "- `small`: A single core for five minutes.\n- `mpi`: Ranks on one node."
    )
    target = SlurmTarget.configure_at_launch()
    at_launch = HPCJobRunner(target=target, work_root="/w")
    assert at_launch.get_resource_definition().description == "Runs commands as batch jobs on SlurmTarget."


def test_an_asset_that_names_no_profile_has_the_default_one(folder: Path) -> None:
    @hpc_asset()
    def counted() -> Command:
        return Command("bitcount")

    site = load(SITE + '[profiles.tiny]\nwalltime = "00:01:00"\n', DAGSTER_HPC_PROFILE="tiny")
    with pytest.raises(ConfigurationError, match="no execution profile is named, and the runner has no default_profile"):
        load(SITE.replace('default_profile = "small"', "")).runner().profile("")

    played = PlayedRunner(folder, profiles=site.runner().profiles, default_profile=site.runner().default_profile)
    played.play("*", Play())
    assert dg.materialize([counted], resources={"hpc": played}).success
    assert played.submitted[0].spec.walltime_s == 60


# -- limits


def test_a_request_over_the_limits_is_refused_with_who_set_them_and_what_fits(folder: Path) -> None:
    hpc = load().runner()
    much = {"num_nodes": 17, "walltime": "48:00:00", "memory_per_node": "200G"}

    with pytest.raises(ConfigurationError) as caught:
        hpc.render(Command("bitcount"), profile="mpi", overrides=much)

    nodes, memory, walltime = caught.value.faults
    assert nodes == (
        "num_nodes is 17, and queue regular allows at most 16 (max_nodes, set in site.toml:18): ask for less"
    )
    assert "memory_per_node is 204800 MiB" in memory
    assert "180G (max_memory_per_node, set in site.toml:16)" in memory
    assert "walltime is 48:00:00, and queue regular allows at most 24:00:00" in walltime


def test_another_queue_is_named_where_the_job_fits(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="ask for less, or send it to long, where it fits"):
        load().runner().render(Command("bitcount"), profile="small", overrides={"walltime": "48:00:00"})


def test_a_request_just_at_the_limits_is_not_refused(folder: Path) -> None:
    at = {"num_nodes": 16, "walltime": "24:00:00", "memory_per_node": "180G"}
    assert "--nodes=16" in load().runner().render(Command("bitcount"), profile="mpi", overrides=at)


def test_what_the_launchpad_asks_too_much_is_refused_before_it_is_submitted(folder: Path) -> None:
    @hpc_asset(profile="mpi")
    def counted() -> Command:
        return Command("bitcount")

    run = dg.materialize(
        [counted],
        resources={"hpc": load().runner()},
        run_config={"ops": {"counted": {"config": {"overrides": {"num_nodes": 99}}}}},
        raise_on_error=False,
    )

    (failure,) = run.get_step_failure_events()
    assert "queue regular allows at most 16 (max_nodes, set in site.toml:18)" in str(failure.step_failure_data.error)


# -- mistakes


def test_every_mistake_is_told_at_once_with_its_line(folder: Path) -> None:
    assert faults("""\
default_target = "clster"
work_root = "/scratch/dagster"
[targets.cluster]
kind = "slrum"
[targets.other]
kind = "slurm"
quue_cpu = "regular"
poll_interval = "often"
[targets.other.limits.regular]
max_node = 2
max_walltime = "1:2"
[[retry]]
on = ["TIMEUT"]
wat = 1
[profiles.small]
walltime = "soon"
num_nodes = -1
extends = "smal"
[profiles.b]
targets = ["othr"]
[profiles.b.on.cluster]
num_node = 2
""") == [
        "site.toml:1: there is no target 'clster': did you mean 'cluster'?",
        "site.toml:4: there is no target 'slrum': did you mean 'slurm'?",
        "site.toml:7: a target of kind slurm has no key 'quue_cpu': did you mean 'queue_cpu'?",
        "site.toml:8: poll_interval: input should be a valid number, unable to parse string as a number (given: 'often')",
        "site.toml:10: the table of a queue's limits has no key 'max_node': did you mean 'max_nodes'?",
        "site.toml:11: walltime '1:2' is hours and minutes to some and minutes and seconds to others: write HH:MM:SS",
        "site.toml:12: a retry rule: 'TIMEUT' is no end after which a job is tried again: did you mean 'TIMEOUT'?",
        "site.toml:14: a retry rule has no key 'wat': did you mean 'walltime'?",
        "site.toml:16: walltime 'soon' is none of HH:MM:SS, D-HH:MM:SS, 90m, 1h30m or plain seconds",
        "site.toml:17: num_nodes: input should be greater than 0 (given: -1)",
        "site.toml:18: profile 'small' extends 'smal', which there is not: known are: b",
        "site.toml:20: there is no target 'othr': did you mean 'other'?",
        "site.toml:22: a profile has no key 'num_node': did you mean 'num_nodes'?",
    ]  # fmt: skip


@pytest.mark.parametrize("names", ["a", "ab", "abc"])
def test_a_circle_is_told_once_where_it_is(folder: Path, names: str) -> None:
    following = dict(zip(names, names[1:] + names[0], strict=True))
    text = "".join(f'[profiles.{name}]\nextends = "{parent}"\n' for name, parent in following.items())

    (said,) = faults(f'work_root = "/w"\n[targets.t]\nkind = "local"\n{text}')

    assert said.endswith(f"{' extends '.join((*names, 'a'))}: that is a circle")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a = 1\nb = \n", "site.toml:2: this is no TOML: Invalid value (at line 2, column 5)"),
        ('targets = "cluster"', "site.toml:1: targets is 'cluster', and has to be a table: [targets.NAME]"),
        ("[targets]\na = 1", "site.toml:2: targets has a = 1, and has to have tables only: [targets.NAME]"),
        ("[target.a]", "site.toml:1: the site has no key 'target': did you mean 'targets'?"),
        (
            'work_root = "/w"\n[targets.a]\nkind = "local"\n[profiles.p]\nenvironments.TOKEN = 1234',
            "site.toml:5: environments.TOKEN: input should be a valid string",
        ),
        ("reuse = 'running'", "site.toml:1: the site has no target: begin one with a line [targets.NAME]"),
        (
            'work_root = "/w"\nreuse = "perhaps"\n[targets.a]\nkind = "local"',
            "site.toml:2: reuse: input should be 'running', 'succeeded' or 'never' (given: 'perhaps')",
        ),
        ('work_root = "/w"\n[targets.a]\n', "site.toml:2: [targets.a] needs a kind, as in kind = \"slurm\""),
        ('[targets.a]\nkind = "local"', "site.toml:1: work_root is not set, neither at the top nor in [targets.a]"),
        (
            'work_root = "/w"\n[targets.a]\nkind = "local"\n[profiles.p]\ntargets = "a"',
            "site.toml:5: targets of [profiles.p] is a list of names, as in [\"cluster\"]",
        ),
        (
            'work_root = "/w"\ndefault_profile = "pp"\n[targets.a]\nkind = "local"\n[profiles.p]\n',
            "site.toml:2: there is no profile 'pp' on a: did you mean 'p'?",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(folder: Path, text: str, fault: str) -> None:
    assert any(said.startswith(fault) for said in faults(text)), faults(text)
    assert "1234" not in "".join(faults(text))  # which may be a secret


# -- the environment


def test_a_variable_replaces_a_field_of_every_profile_and_target(folder: Path) -> None:
    site = load(DAGSTER_HPC_WALLTIME="00:10:00", DAGSTER_HPC_MPIPROCS="2", DAGSTER_HPC_QUEUE_CPU="short",
                DAGSTER_HPC_MODULES="gcc,mpich", DAGSTER_HPC_WORK_ROOT="/elsewhere")  # fmt: skip

    for target in site.targets:
        hpc = site.runner(target)
        assert {(each.walltime, each.mpiprocs) for each in hpc.profiles.values()} == {("00:10:00", 2)}
        assert hpc.profile("mpi").modules == ["gcc", "mpich"]
        assert (hpc.target.queue_cpu, hpc.folder) == ("short", "/elsewhere")


def test_a_variable_chooses_for_those_who_name_no_target_and_no_profile(folder: Path) -> None:
    site = load(DAGSTER_HPC_TARGET="laptop", DAGSTER_HPC_PROFILE="mpi")

    assert isinstance(site.runner().target, LocalTarget)
    assert isinstance(site.runner("cluster").target, SlurmTarget)
    assert site.runner().profile("").launcher == "mpirun"
    assert site.runner().profile("small").launcher == "single"


def test_a_mistyped_variable_is_an_error_and_one_of_somebody_else_is_none(folder: Path) -> None:
    assert faults(SITE, DAGSTER_HPC_WALTIME="1h", DAGSTER_HPC_MPIPROCS="many") == [
        "$DAGSTER_HPC_MPIPROCS: mpiprocs: input should be a valid integer, unable to parse string as an integer "
        "(given: 'many')",
        "$DAGSTER_HPC_WALTIME: nothing is called so: did you mean DAGSTER_HPC_WALLTIME?",
    ]
    assert faults(SITE, DAGSTER_HPC_TARGET="lptop") == [
        "$DAGSTER_HPC_TARGET: there is no target 'lptop': did you mean 'laptop'?"
    ]
    assert load(DAGSTER_HPC_LEDGER="/l", DAGSTER_HPC_REQUIRE="slurm", DAGSTER_HPC_INBOX="/i", DAGSTER_HPC_QPU="").runner()
