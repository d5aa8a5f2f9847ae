"""`python -m definitions.demo`: materialize the demo's assets here and now, and show what came out and what it cost.

Everything lands in `.demo/` of the current directory; the command that it prints at the end shows the same in the UI.
"""

import logging
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dagster_hpc.dagster_values import plain
from dagster_hpc.engine.errors import HPCError
from definitions import defs
from definitions.targets import VARIABLES

REPOSITORY = Path(__file__).resolve().parents[1]
JOBS, PICTURE = ("hello", "bit_counts"), "histogram"
BARS, BAR_WIDTH = 8, 40
INSTANCE = """\
telemetry:
  enabled: false
nux:  # the dialog that asks for an address of e-mail
  enabled: false
"""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main() -> int:
    """Materialize, then report. The exit code says whether all went well."""
    console = Console(highlight=False)
    settings = use_folder(Path.cwd() / ".demo")
    console.print(f"Materializing the demo's assets. Their jobs run on {place()}.", soft_wrap=True)
    # Ctrl-C may come while a connection is given back, of which SQLAlchemy would print a traceback.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    try:
        with console.status("running"), dg.DagsterInstance.get() as instance:
            result = run(instance)
    except HPCError as error:
        return fail(console, str(error))
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        console.print("\nInterrupted. A job that was submitted goes on; the next demo joins it.")
        return 130
    if not result.success:
        return fail(console, "\n\n".join(faults(result)))
    show_counts(console, result.output_for_node("bit_counts"))
    show_cost(console, {name: metadata_of(result, name) for name in JOBS})
    show_next(console, settings)
    return 0


def use_folder(folder: Path) -> dict[str, str]:
    """Give Dagster, the ledger and the jobs their places below `folder`, and keep what the UI has to know of that."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text(INSTANCE)
    os.environ["DAGSTER_HOME"] = str(folder)
    os.environ.setdefault("DAGSTER_HPC_WORK_ROOT", str(folder / "work"))
    return {name: os.environ[name] for name in ("DAGSTER_HOME", *VARIABLES) if os.environ.get(name)}


def place() -> str:
    """Where the jobs go, in words."""
    kind = os.environ.get("DAGSTER_HPC_TARGET") or "local"
    return "this machine (DAGSTER_HPC_TARGET=slurm sends them to a cluster)" if kind == "local" else kind


SHOWN = ("hello", "samples", "bit_counts", "histogram")


def run(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """The assets that need no chemistry and no partition, in this process, without Dagster's own lines."""
    job = defs().resolve_implicit_global_asset_job_def()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = job.execute_in_process(
            run_config=QUIET,
            instance=instance,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(name) for name in SHOWN],
        )
    errors = [event.step_failure_data.error for event in result.get_step_failure_events()]
    if any(error and error.cls_name == dg.DagsterExecutionInterruptedError.__name__ for error in errors):
        raise KeyboardInterrupt  # which Dagster has made a failed step of
    return result


def faults(result: dg.ExecuteInProcessResult) -> list[str]:
    """What went wrong, in the words of the failed steps."""
    texts = []
    for event in result.get_step_failure_events():
        failure = event.step_failure_data
        said = failure.user_failure_data.description if failure.user_failure_data else None
        texts.append(f"{event.step_key}: {said or (failure.error_display_string or 'failed').strip()}")
    return texts or ["the run failed before its first step"]


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(asset)
    return plain(event.metadata)


def fail(console: Console, text: str) -> int:
    console.print("\n[bold red]The demo failed.[/bold red]")
    console.print(text, markup=False, soft_wrap=True)
    return 1


def show_counts(console: Console, counts: Mapping[str, int]) -> None:
    """The demo's result: the most frequent bitstrings, as bars."""
    total = sum(counts.values())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:BARS]
    title = f"The {len(ranked)} most frequent of {len(counts)} bitstrings in {total} samples"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for heading in ("Bitstring", "Samples", "Share"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for bits, count in ranked:
        bar = "█" * max(1, round(BAR_WIDTH * count / ranked[0][1]))
        table.add_row(bits, str(count), f"{count / total:.1%}", bar)
    console.print(table)


def show_cost(console: Console, jobs: Mapping[str, Mapping[str, object]]) -> None:
    """What each job cost, as its scheduler counted it."""
    table = Table(
        title="What the jobs cost", title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False
    )
    for heading in ("Asset", "Job", "State"):
        table.add_column(heading, no_wrap=True)
    for heading in ("Queue\nwait", "Elapsed", "CPU\ntime", "Peak\nmemory", "Node\nhours"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, job in jobs.items():
        figures = (
            amount(job["queue_wait_s"], ".2f", " s"),
            amount(job["elapsed_s"], ".2f", " s"),
            amount(job["cpu_time_s"], ".2f", " s"),
            amount(job["max_rss_mib"], ".1f", " MiB"),
            amount(job["node_hours"], ".5f", ""),
        )
        table.add_row(name, str(job["job_id"]), str(job["state"]), *figures)
    console.print(table)


def amount(value: object, form: str, unit: str) -> str:
    """A figure with its unit; a dash where the scheduler does not say."""
    return f"{value:{form}}{unit}" if isinstance(value, int | float) else "-"


def show_next(console: Console, settings: Mapping[str, str]) -> None:
    """How to see these very materializations in the UI."""
    console.print("See these materializations in the UI, with picture, logs and launchpad. Start it with\n")
    console.print(f"  {ui_command(settings)}\n", soft_wrap=True, markup=False)
    console.print(f"and open http://127.0.0.1:3000/asset-groups. The picture is on the page of [b]{PICTURE}[/b].")


def ui_command(settings: Mapping[str, str]) -> str:
    """The `dagster dev` of this environment, with the variables that lead it to the demo's folder."""
    words = [f"{name}={shlex.quote(value)}" for name, value in settings.items()]
    there = [] if Path.cwd() == REPOSITORY else ["-d", shlex.quote(str(REPOSITORY)), "-m", "definitions"]
    return " ".join([*words, shlex.quote(dagster_program()), "dev", *there])


def dagster_program() -> str:
    """The `dagster` of this environment, as one would type it here."""
    path, here = Path(sys.executable).with_name("dagster"), Path.cwd()
    if shutil.which("dagster") == str(path):
        return "dagster"
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


if __name__ == "__main__":
    sys.exit(main())
