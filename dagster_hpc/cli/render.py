"""`dagster-hpc render`: the script that would be submitted."""

from __future__ import annotations

import click

from dagster_hpc.cli.options import module_option


@click.command(short_help="Print the script that would be submitted.")
@click.argument("executable")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--profile", required=True, metavar="NAME", help="Execution profile of the runner.")
@click.option("--override", "overrides", multiple=True, metavar="FIELD=VALUE", help="As in walltime=00:10:00.")
@click.option("--runner", default="hpc", show_default=True, metavar="KEY", help="Resource key of the HPCJobRunner.")
@module_option
def render(
    executable: str,
    arguments: tuple[str, ...],
    profile: str,
    overrides: tuple[str, ...],
    runner: str,
    module: str | None,
) -> None:
    """Print the very script that would be submitted, and submit nothing.

    EXECUTABLE is a key of the target's executable_map, or an absolute path; its ARGUMENTS follow it. Put -- before it
    where they have options of their own:

        dagster-hpc render --profile mpi-16 --override walltime=00:10:00 -- bitcount --input samples.txt
    """
    from dagster_hpc.cli.code_location import open_runners, read_overrides
    from dagster_hpc.resources.command import Command

    with open_runners(module, runner) as runners:
        command = Command(executable, args=arguments)
        click.echo(runners[runner].render(command, profile=profile, overrides=read_overrides(overrides)), nl=False)
