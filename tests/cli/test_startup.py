from __future__ import annotations

import subprocess
import sys
import time

import pytest

from dagster_hpc import __version__
from tests.cli.terminal import Terminal, row

ROWS = 10_000
HEAVY = ("dagster", "pydantic", "jinja2")
WITHOUT = """\
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise AssertionError(name + " was imported")
sys.meta_path.insert(0, Refuse())
from dagster_hpc.cli.main import main
main({argv})
"""


@pytest.mark.parametrize(
    "words",
    [
        ("jobs",),
        ("jobs", "--refresh"),
        ("show", "abcdefgh"),
        ("logs", "abcdefgh"),
        ("cancel", "abcdefgh"),
        ("release", "abcdefgh"),
        ("prune", "--dry-run"),
        ("export",),
        ("explain", "abcdefgh"),
        ("report",),
        ("advise",),
        ("runs",),
        ("retry", "--help"),
        ("top", "--once"),
        ("tell", "--help"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(terminal: Terminal, words: tuple[str, ...]) -> None:
    terminal.keep(row("abcdefgh", work_dir=str(terminal.folder)))
    program = WITHOUT.format(heavy=HEAVY, argv=["--ledger", terminal.url, *words])

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


def test_ten_thousand_jobs_are_listed_about_as_quickly_as_the_libraries_start(terminal: Terminal) -> None:
    terminal.keep(*(row(f"row{number:05}", job_id=str(number), created_at=number) for number in range(ROWS)))
    bare = [sys.executable, "-c", "import sqlalchemy, click"]

    def seconds(argv: list[str]) -> float:
        begun = time.monotonic()
        subprocess.run(argv, check=True, capture_output=True, timeout=60)
        return time.monotonic() - begun

    ours = [sys.executable, "-m", "dagster_hpc.cli", "--ledger", terminal.url, "jobs"]
    seconds(ours)

    assert min(seconds(ours) for _ in range(3)) <= 4 * min(seconds(bare) for _ in range(3))


def test_help_says_what_the_exit_codes_mean(terminal: Terminal) -> None:
    assert "Exit codes: 0" in " ".join(terminal.run_alone("--help").stdout.split())
    assert __version__ in terminal.run_alone("--version").stdout


def test_wrong_usage_ends_with_2(terminal: Terminal) -> None:
    assert terminal.run("jobs", "--state", "ASLEEP").returncode == 2
    assert terminal.run("show").returncode == 2
