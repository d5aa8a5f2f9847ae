"""`dagster-hpc`: the jobs that Dagster has submitted, for somebody at a terminal.

`jobs`, `show`, `logs` and `cancel` read the ledger and start quickly: they import neither Dagster nor what it needs.
`render`, `doctor` and `dag` look at a code location, and import it.
"""

from __future__ import annotations

import os
from typing import Any

import click

from dagster_hpc.cli.adopt import adopt
from dagster_hpc.cli.advise import advise
from dagster_hpc.cli.cancel import cancel
from dagster_hpc.cli.completion import completion
from dagster_hpc.cli.dag import dag
from dagster_hpc.cli.doctor import doctor
from dagster_hpc.cli.explain import explain
from dagster_hpc.cli.jobs import export, jobs
from dagster_hpc.cli.logs import logs
from dagster_hpc.cli.lookup import Stop
from dagster_hpc.cli.prune import prune
from dagster_hpc.cli.release import release
from dagster_hpc.cli.render import render
from dagster_hpc.cli.report import report
from dagster_hpc.cli.retry import retry
from dagster_hpc.cli.runs import runs
from dagster_hpc.cli.show import show
from dagster_hpc.cli.site import site
from dagster_hpc.cli.tell import tell
from dagster_hpc.cli.top import top
from dagster_hpc.engine.errors import HPCError
from dagster_hpc.version import __version__

_INTERRUPTED = 130


class _Commands(click.Group):
    """A known error is a text and an exit code, not a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except HPCError as error:
            raise Stop(str(error)) from error
        except KeyboardInterrupt:
            ctx.exit(_INTERRUPTED)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all well; 1 it failed, or something is not healthy; 2 wrong usage, or a WORD that means "
    "several jobs; 3 no such job.",
)
@click.version_option(__version__, prog_name="dagster-hpc")
@click.option(
    "--ledger",
    metavar="URL",
    help="The database of jobs: a file, or a URL as in postgresql://… (default: DAGSTER_HPC_LEDGER, else a file in "
    "DAGSTER_HOME, else one in ~/.local/state/dagster_hpc).",
)
@click.pass_context
def main(ctx: click.Context, ledger: str | None) -> None:
    """Batch jobs that Dagster runs: list them, look into them, cancel them, check the set-up.

    Each job was submitted with a script of its own (sbatch on Slurm) by a step of a Dagster run, and is kept in a
    ledger: its token, its job id, its directory, its state, what it cost. These commands read that ledger, from any
    shell on the machine where Dagster runs.
    """
    ctx.obj = ledger if ledger is None or "://" in ledger else f"sqlite:///{ledger}"


COMMANDS = (
    *(jobs, show, logs, cancel, export, top, explain, report, advise, runs, retry),  # the jobs of the ledger
    *(release, adopt, prune, completion),  # its care
    site,  # the site's files
    tell,  # inside a job
    *(dag, render, doctor),  # of a code location
)
for command in COMMANDS:
    main.add_command(command)
