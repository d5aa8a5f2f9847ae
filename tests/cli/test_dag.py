from __future__ import annotations

import pytest

from dagster_hpc.cli.graph import Node, dot, mermaid, tree
from tests.cli.terminal import Terminal

LOCATION = """\
import dagster as dg
from dagster_hpc import Command, ExecutionProfile, HPCJobRunner, SlurmTarget, hpc_asset

@dg.asset
def samples():
    return "0110"

@hpc_asset(profile="two")
def counted(samples) -> Command:
    return Command("/bin/true")

@dg.asset(deps=[counted, samples])
def picture(): ...

hpc = HPCJobRunner(target=SlurmTarget(), profiles={"two": ExecutionProfile(num_nodes=2)}, work_root="/scratch/me")
defs = dg.Definitions(assets=[samples, counted, picture], resources={"hpc": hpc})
"""
DIAMOND = [
    Node("top", ()),
    Node("left", ("top",), is_hpc=True, profile="small", target="slurm"),
    Node("right", ("top",)),
    Node('bot"tom', ("left", "right"), partitions="StaticPartitionsDefinition"),
]


@pytest.fixture
def location(terminal: Terminal) -> Terminal:
    (terminal.folder / "study_of_dag.py").write_text(LOCATION)
    (terminal.folder / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "study_of_dag"\n')
    return terminal


def test_a_tree_marks_the_batch_jobs_with_profile_and_system(location: Terminal) -> None:
    assert location.run("dag").stdout == (
        "samples\n├─ counted  [hpc: two on slurm]\n│  └─ picture\n└─ picture  [as above]\n"
    )
    assert [node["name"] for node in location.json("dag")] == ["samples", "counted", "picture"]
    assert '"samples" -> "counted";' in location.run("dag", "--dot").stdout
    assert location.run("dag", "--mermaid").stdout.startswith("flowchart LR\n")


def test_a_child_of_two_stands_under_the_first_and_is_named_under_the_other() -> None:
    assert tree(DIAMOND).splitlines() == [
        "top",
        "├─ left  [hpc: small on slurm]",
        '│  └─ bot"tom  [partitioned: StaticPartitionsDefinition]',
        "└─ right",
        '   └─ bot"tom  [partitioned: StaticPartitionsDefinition; as above]',
    ]


def test_mermaid_quotes_names_and_colours_the_batch_jobs() -> None:
    text = mermaid(DIAMOND)
    assert '  a3["bot#quot;tom"]' in text
    assert "  class a1 hpc" in text
    assert "  a1 --> a3" in text


def test_graphviz_is_given_quoted_names_and_filled_boxes() -> None:
    text = dot(DIAMOND)
    assert '"left" -> "bot\\"tom";' in text
    assert '"left" [label="left\\nhpc: small on slurm", style="rounded,filled"' in text


def test_a_module_that_is_not_there_is_a_sentence(terminal: Terminal) -> None:
    done = terminal.run("dag", "--module", "no_such_module_at_all")
    assert (done.returncode, "cannot be loaded" in done.stderr) == (1, True)
