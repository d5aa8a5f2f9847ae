"""`dagster-hpc site`: the files in which a site's targets and profiles are written. Only `check` needs Dagster."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dagster_hpc.cli.options import json_option
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.site.files import read_files, read_site
from dagster_hpc.site.settings import Settings

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path))


@click.group(short_help="Write, check and show the site's files.")
def site() -> None:
    """The site's files: write a first one, look over them, see what is in force.

    They are read in this order, and a later one goes before an earlier one, key by key: the system-wide file
    (DAGSTER_HPC_SITE, or /etc/dagster_hpc/site.toml), the user's (~/.config/dagster_hpc/site.toml), the project's
    (site.toml here or above). FILE names one that is to be read alone.
    """


@site.command()
@_FILE
@click.option("--work-root", metavar="DIR", default="~/dagster-jobs", show_default=True, help="Folder of the jobs.")
def new(file: Path | None, work_root: str) -> None:
    """Ask the scheduler of this machine, and write a first file that works, to FILE or on stdout.

    It has the queues with their limits, your accounts, the MPI launcher, and three profiles to begin with. Where no
    scheduler answers, jobs run on this machine itself.
    """
    from dagster_hpc.engine.hosts.local import LocalHost
    from dagster_hpc.site.first_file import first_file
    from dagster_hpc.site.machine import look_around

    if file and file.exists():
        raise ConfigurationError(f"{file} exists already, and stays as it is", advice="name another file, or remove it.")
    text = first_file(look_around(LocalHost()), work_root)
    if file is None:
        click.echo(text, nl=False)
        return
    file.write_text(text, encoding="utf-8")
    click.echo(f"wrote {file}; `dagster-hpc site check` looks over it", err=True)


@site.command()
@_FILE
@json_option
@click.pass_obj
def check(url: str | None, /, file: Path | None, as_json: bool) -> None:
    """Say all that is wrong with the files, each mistake with its line; then ask the schedulers that are reached here.

    Every profile is tried on every target that it is for, against the limits in the files and those of the scheduler.
    The exit code is 1 if something is wrong; warnings are none.
    """
    from dagster_hpc.cli.checks_shown import show_checks
    from dagster_hpc.cli.site_check import site_checks

    show_checks(site_checks(_settings(file), url), as_json=as_json, about="about", well="well")


@site.command()
@_FILE
@click.option("--origin", is_flag=True, help="With the file and line of each value.")
@json_option
def show(file: Path | None, origin: bool, as_json: bool) -> None:
    """Print what all files together say, as TOML.

    Variables of the environment (DAGSTER_HPC_…) go before it; those that are set are told on stderr.
    """
    from dagster_hpc.cli.display import to_json
    from dagster_hpc.site.toml_text import Comments, toml_text
    from dagster_hpc.site.variables import set_variables

    settings = _settings(file)
    origins = {path: str(place) for path, place in settings.origins().items()}
    for name, value in set_variables(os.environ).items():
        click.echo(f"{name}={value} goes before this", err=True)
    if as_json:
        told = {".".join(map(str, path)): place for path, place in origins.items()}
        click.echo(to_json({"values": settings.values, "origins": told} if origin else settings.values))
    else:
        click.echo(toml_text(settings.values, Comments(beside=origins if origin else {})), nl=False)


@site.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
def import_(files: tuple[Path, ...]) -> None:
    """Print the site file that stands for blocks of qcsc-prefect 0.3.

    FILES are TOML or JSON: fields of CommandBlock, ExecutionProfileBlock and HPCProfileBlock, or a configuration of a
    create_blocks script. Commands become lines of Python, at the end. What has no place here is told on stderr.
    """
    from dagster_hpc.site.blocks import import_blocks

    found = import_blocks(files)
    click.echo(found.text(), nl=False)
    for key in found.left:
        click.echo(f"not taken over: {key}", err=True)


def _settings(file: Path | None) -> Settings:
    return read_files([file]) if file else read_site(os.environ, Path.cwd())


