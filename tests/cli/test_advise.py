from __future__ import annotations

from dagster_hpc.engine.job import JobMetrics, RetryPlan
from tests.cli.terminal import Terminal, row

GIVEN = RetryPlan(walltime_s=3600, memory_mib=4096, profile="mpi-16", nodes=1, ranks_per_node=1)


def filled(terminal: Terminal) -> None:
    metrics = JobMetrics(elapsed_s=100.0, max_rss_mib=1000.0)
    terminal.keep(*(row(f"abcdefg{at}", asset_key="energy", retry=GIVEN, metrics=metrics) for at in "23456789jk"))


def test_by_profile_it_prints_toml(terminal: Terminal) -> None:
    filled(terminal)
    assert terminal.run("advise").stdout == (
        "# mpi-16: what 95 in 100 jobs have used, and 20% more\n"
        "[profiles.mpi-16]\n"
        'walltime = "00:02:00"  # was 01:00:00; used 00:01:40 by 10 jobs\n'
        'memory_per_node = "1280M"  # was 4096 MiB; used 1000 MiB by 10 jobs\n'
    )


def test_by_asset_it_prints_a_table_and_for_programs_json(terminal: Terminal) -> None:
    filled(terminal)

    line = terminal.run("advise", "--by", "asset").stdout.splitlines()[-1]

    assert line.split() == ["energy", "mpi-16", "10", "00:02:00", "01:00:00", "1280M", "4096M"]
    assert terminal.json("advise", "--margin", "0")[0]["memory"]["advised"] == 1024


def test_where_there_is_nothing_to_learn_from_it_says_so(terminal: Terminal) -> None:
    terminal.keep(row("abcdefgh"))
    assert "no jobs to learn from" in terminal.run("advise").stderr
