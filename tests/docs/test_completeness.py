"""What the code has, the pages explain; what the pages quote, the code says."""

from __future__ import annotations

import ast
import importlib
import re
from functools import lru_cache

import click
import pytest
from dagster import Resolvable

import dagster_hpc
from dagster_hpc import (
    ExecutionProfile,
    HPCError,
    HPCJobComponent,
    HPCJobConfig,
    HPCJobRunner,
    JobHandle,
    JobMetrics,
    JobResult,
    JobState,
    LocalTarget,
    SlurmTarget,
    array_metadata,
    job_metadata,
)
from dagster_hpc.cli.main import main
from dagster_hpc.components.automation import Schedule
from dagster_hpc.components.job import Job
from dagster_hpc.components.readings import Check, Reading
from dagster_hpc.engine.job import FINAL_STATES
from dagster_hpc.engine.schedulers.slurm.words import EXPLAINED, cannot_start
from dagster_hpc.engine.target import Patience
from dagster_hpc.site.plan import variable_fields
from dagster_hpc.site.variables import variable
from tests.docs.pages import PAGES, page
from tests.systems.needs import REPOSITORY

RESULT = JobResult(JobHandle("k7m2x9qd", "1", "/", "local"), JobState.COMPLETED)
VARIABLE = re.compile(r"\bDAGSTER_HPC_[A-Z_]+")


def words(name: str) -> set[str]:
    """All that stands in code style on a page, or in its blocks, as words."""
    one = page(name)
    quoted = " ".join(re.findall(r"`([^`]+)`", one.prose)) + " ".join(block.text for block in one.blocks)
    return set(re.findall(r"[\w.-]+", quoted))


def rows(name: str) -> set[str]:
    """The first cells of a page's tables, those in code style."""
    cells = re.findall(r"^\| (.+?) \|", page(name).prose, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def family(error: type[HPCError]) -> set[str]:
    return {error.__name__}.union(*(family(child) for child in error.__subclasses__()))


def test_every_public_name_is_on_a_page() -> None:
    known = set().union(*(re.findall(r"\w+", one.text) for one in PAGES))
    assert set(dagster_hpc.__all__) - known == set()


def test_every_field_of_a_profile_has_a_row() -> None:
    assert set(ExecutionProfile.model_fields) - rows("profiles.md") == set()


def test_every_field_of_the_launchpad_is_on_the_page_of_profiles() -> None:
    assert set(HPCJobConfig.model_fields) - words("profiles.md") == set()


@pytest.mark.parametrize("target", [LocalTarget, SlurmTarget])
def test_every_field_of_a_target_has_a_row(target: type[LocalTarget] | type[SlurmTarget]) -> None:
    assert set(target.model_fields) - rows("targets.md") == set()


@pytest.mark.parametrize("written", [HPCJobComponent, Job, Reading, Check, Schedule], ids=lambda one: one.__name__)
def test_every_field_of_a_defs_yaml_is_on_its_page(written: type[Resolvable]) -> None:
    assert set(written.model().model_fields) - words("pipeline-without-python.md") == set()


def test_every_field_of_the_runner_has_a_row() -> None:
    assert set(HPCJobRunner.model_fields) - rows("targets.md") == set()


def test_every_metadata_key_has_a_row_and_every_row_a_key() -> None:
    keys = set(job_metadata(RESULT)) | set(array_metadata([RESULT]))
    tags = {"dagster_hpc/job_id", "dagster_hpc/target"}
    assert rows("metadata.md") == keys | tags


def test_every_metric_is_on_the_page_of_metadata() -> None:
    assert set(JobMetrics().to_dict()) - words("metadata.md") == set()


def test_every_state_has_a_row() -> None:
    assert {state.value for state in JobState} - rows("how-a-job-lives.md") == set()
    assert set(FINAL_STATES) < rows("how-a-job-lives.md")


def test_every_patience_is_on_the_page_of_a_jobs_life() -> None:
    """How long the engine waits for what: a changed figure is a changed page."""
    text = page("how-a-job-lives.md").prose
    patience = Patience()
    for name in ("recheck_s", "unavailable_s", "epilogue_s", "lost_after_s", "slowest_poll_s"):
        assert f"{getattr(patience, name):g} s" in text, name


def test_every_error_has_a_heading_or_a_row() -> None:
    for module in (
        "dice.output_text", "dice.validation", "dice.result", "dice.io_manager", "sqd.molecule", "sqd.loop",
        "quantum.values",
    ):  # fmt: skip
        importlib.import_module(f"dagster_hpc.{module}")
    headings = " ".join(re.findall(r"^#{2,3} (.+)$", page("troubleshooting.md").prose, re.MULTILINE))
    told = set(re.findall(r"\w+", headings)) | rows("troubleshooting.md")
    assert {name for name in family(HPCError) if not name.startswith("_")} - {"HPCError"} - told == set()
    assert "HPCError" in words("troubleshooting.md")


def test_every_pending_reason_of_slurm_has_a_row() -> None:
    waiting = {reason for reason, sentence in EXPLAINED.items() if "wait" in sentence or cannot_start(reason)}
    assert waiting - rows("troubleshooting.md") == set()


def test_pending_reasons_are_explained_in_the_words_of_the_code() -> None:
    table = dict(re.findall(r"^\| `(\w[\w ]*)` \| (.+?) \|", page("troubleshooting.md").prose, re.MULTILINE))
    for reason in table.keys() & EXPLAINED.keys():
        assert table[reason] == EXPLAINED[reason]


@lru_cache
def messages() -> list[str]:
    """Every text in the package, with `…` for what is filled in."""
    found = []
    for path in (REPOSITORY / "dagster_hpc").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    for template in (REPOSITORY / "templates").glob("*.j2"):
        found.append(re.sub(r"\$hpc_here|\$\(<[^)]*\)|\$\w+|\{\{.*?\}\}", "…", template.read_text(encoding="utf-8")))
    return found


def quoted_messages() -> list[str]:
    """The first cells in the tables of messages: their heading is `Message`."""
    quoted, inside = [], False
    for line in page("troubleshooting.md").prose.splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith("| Message |"):
            inside = True
        elif inside and not line.startswith("|--"):
            quoted.append(line.split(" | ")[0].removeprefix("| ").strip("`… "))
    return quoted


@pytest.mark.parametrize("message", quoted_messages())
def test_a_quoted_message_is_one_that_the_code_says(message: str) -> None:
    assert any(message in text for text in messages())


def test_many_messages_are_explained() -> None:
    assert len(quoted_messages()) >= 50


def test_every_command_and_option_is_on_the_page_of_the_command_line() -> None:
    known = words("command-line.md")
    assert isinstance(main, click.Group)
    for name, command in main.commands.items():
        assert name in known
        options = {word for option in command.params for word in (*option.opts, *option.secondary_opts)}
        assert {option for option in options if option.startswith("--")} - known == set(), name


def test_every_variable_is_on_a_page_and_every_variable_on_a_page_exists() -> None:
    folders = ("dagster_hpc", "definitions", "tests/systems")
    code = "\n".join(path.read_text() for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))
    read = set(VARIABLE.findall(code)) | {f"DAGSTER_HPC_{name}" for name in ("QUEUE", "PROJECT", "WORK_ROOT", "INBOX")}
    shown = set().union(*(VARIABLE.findall(one.text) for one in PAGES))
    assert shown <= read | {variable(field) for field in variable_fields()}
    user = {name for name in read if not name.endswith("_")}
    assert user <= shown


def test_the_listing_of_the_house_is_the_house() -> None:
    (listing,) = (block.text for block in page("README.md").blocks if block.text.startswith("definitions/"))
    listed: set[str] = set()
    above: list[str] = []
    for line in listing.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        if "/" not in name and "." not in name:
            continue
        above = [*above[:depth], name.rstrip("/")]
        named = "/".join(above)
        assert (REPOSITORY / named).exists(), named
        listed.add(named)
    for folder in ("", "dagster_hpc/", "dagster_hpc/engine/"):
        there = {path for path in (REPOSITORY / folder).iterdir() if not path.name.startswith((".", "__"))}
        for path in there:
            if path.is_dir() or (folder and path.suffix == ".py" and path.stem != "version"):
                assert str(path.relative_to(REPOSITORY)) in listed


def test_no_page_names_the_machine_that_it_was_written_on() -> None:
    for one in PAGES:
        assert not re.search(r"(?<!\w)/(work|root|tmp)/", one.text), one
