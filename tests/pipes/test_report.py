"""`dagster-hpc tell`: programs that can import nothing report by a shell command, or by one line of their own."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from dagster_hpc import Command, PipesHPCClient
from dagster_hpc.cli.main import main
from tests.pipes.conftest import message
from tests.pipes.test_client import asset_of, failure_of, materialize, metadata_of

REPORT = f"{sys.executable} -m dagster_hpc.cli tell"


def report(file: Path | None, *words: str) -> Result:
    return CliRunner().invoke(main, ["tell", *words], env={"HPC_PIPES_MESSAGES": file and str(file)})


def said(file: Path) -> dict[str, Any]:
    (line,) = file.read_text().splitlines()
    return json.loads(line)  # type: ignore[no-any-return]


def test_a_shell_script_reports_a_materialization_a_check_a_log_line_and_a_message(pipes: PipesHPCClient) -> None:
    told: list[Any] = []

    @dg.asset(check_specs=[dg.AssetCheckSpec("converged", asset="energy")])
    def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
        command = Command.shell(
            f"""
cd /
{REPORT} log --level warning "half way"
{REPORT} materialization energy=-1.5 steps=7 --path density=d.cube --data-version v2
{REPORT} check converged --passed residual=1e-9
{REPORT} custom '[1, 2]'
"""
        )
        done = pipes.run(context=context, command=command, profile="small")
        told.extend(done.get_custom_messages())
        return done.get_materialize_result()

    result = materialize(energy, pipes)

    metadata = metadata_of(result)
    assert (metadata["energy"], metadata["steps"], metadata["density"]) == (-1.5, 7, "/d.cube")
    assert [(check.check_name, check.passed) for check in result.get_asset_check_evaluations()] == [("converged", True)]
    assert told == [[1, 2]]


def test_one_line_of_bash_is_enough(pipes: PipesHPCClient) -> None:
    line = message("report_asset_materialization", metadata={"energy": -1.1})
    script = f"echo '{line}' >>\"$HPC_PIPES_MESSAGES\""
    assert metadata_of(materialize(asset_of(Command.shell(script)), pipes))["energy"] == -1.1


def test_of_several_assets_the_key_has_to_be_said(pipes: PipesHPCClient) -> None:
    @dg.multi_asset(specs=[dg.AssetSpec("a"), dg.AssetSpec("b")])
    def both(context: dg.AssetExecutionContext, pipes: PipesHPCClient):  # type: ignore[no-untyped-def]
        command = Command.shell(f"{REPORT} materialization x=1")
        return pipes.run(context=context, command=command, profile="small").get_results()

    assert "the assets of this step are: a, b" in failure_of(materialize(both, pipes))


def test_values_have_the_type_that_they_look_like(tmp_path: Path) -> None:
    words = ["i=-3", "f=1e-9", "b=true", "j=[1, 2]", "t=1 Hartree", "n=nan", "k={not json", "e="]
    done = report(tmp_path / "m", "materialization", *words, "--text", "v=007", "--path", "out.dat")
    assert done.exit_code == 0, done.output
    values = {name: (each["type"], each["raw_value"]) for name, each in said(tmp_path / "m")["params"]["metadata"].items()}
    assert values == {
        "i": ("int", -3), "f": ("float", 1e-9), "b": ("bool", True), "j": ("json", [1, 2]), "t": ("text", "1 Hartree"),
        "n": ("null", None), "k": ("text", "{not json"), "e": ("text", ""), "v": ("text", "007"),
        "path": ("path", str(Path("out.dat").absolute())),
    }  # fmt: skip


def test_a_check_that_only_warns(tmp_path: Path) -> None:
    assert report(tmp_path / "m", "check", "sound", "--failed", "--warn", "--asset", "site/a").exit_code == 0
    assert said(tmp_path / "m")["params"] == {
        "asset_key": "site/a", "check_name": "sound", "passed": False, "severity": "WARN", "metadata": {}
    }  # fmt: skip


def test_many_that_report_at_once_write_whole_lines(tmp_path: Path) -> None:
    text = "x" * 20_000
    with ThreadPoolExecutor(8) as many:
        command = [sys.executable, "-m", "dagster_hpc.cli", "tell", "log", text]
        environment = {"HPC_PIPES_MESSAGES": str(tmp_path / "m"), "PATH": "/usr/bin:/bin"}
        done = list(many.map(lambda _: subprocess.run(command, env=environment).returncode, range(8)))
    assert done == [0] * 8
    lines = (tmp_path / "m").read_text().splitlines()
    assert [len(json.loads(line)["params"]["message"]) for line in lines] == [20_000] * 8


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["log", "hello"], 1, "this is no job that reports to Dagster: HPC_PIPES_MESSAGES is not set"),
        (["materialization", "energy"], 2, "'energy' is to be NAME=VALUE"),
        (["custom", "{"], 2, "'{' is no JSON"),
        (["check", "sound"], 2, "say --passed or --failed"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], code: int, sentence: str) -> None:
    done = report(None, *words)
    assert (done.exit_code, sentence in done.output) == (code, True), done.output


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    done = report(tmp_path / "no" / "m", "log", "hello")
    assert done.exit_code == 1
    assert "the job's messages cannot be written" in done.output


def test_the_word_by_which_it_was_called_at_first_is_still_understood(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", "log", "hello"], env={"HPC_PIPES_MESSAGES": str(tmp_path / "m")})

    assert (done.exit_code, json.loads((tmp_path / "m").read_text())["method"]) == (0, "log")
