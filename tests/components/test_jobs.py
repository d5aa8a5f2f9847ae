"""What a job of a `defs.yaml` runs, and the asset that it makes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dagster as dg
import pytest

from tests.components.project import HEAD, Project, run


def output(result: dg.ExecuteInProcessResult, node: str, name: str) -> str:
    value: dict[str, str] = result.output_for_node(node)
    return Path(value[name]).read_text()


def test_a_job_that_names_the_output_of_another_runs_after_it_and_is_given_its_path(
    project: Project, instance: dg.DagsterInstance
) -> None:
    project.write("""
      jobs:
        - asset: total
          script: awk '{n += $1} END {print n}' "$1" >total.txt
          args: ["{{ deps.numbers.list }}"]
          outputs: {total: total.txt}
        - asset: numbers
          script: seq 10 >list.txt
          outputs: {list: list.txt}
    """)
    result = run(project.load(), instance)
    assert output(result, "total", "total") == "55\n"


HOSTILE = ["$(touch hacked)", "a b", "'quoted'", '"; touch hacked', "007", "1e3", "{#", "é\n", "", "*"]


def test_every_argument_arrives_as_it_is_written(project: Project, instance: dg.DagsterInstance) -> None:
    show = """import json, sys; json.dump(sys.argv[1:], open("args.json", "w"))"""
    project.write(f"""
      jobs:
        - asset: seen
          executable: {sys.executable}
          args: {json.dumps(["-c", show, *HOSTILE])}
          outputs: {{args: args.json}}
    """)
    result = run(project.load(), instance)
    assert json.loads(output(result, "seen", "args")) == HOSTILE


def test_a_hostile_upstream_value_stays_within_its_argument(project: Project, instance: dg.DagsterInstance) -> None:
    (project.defs / "samples.py").write_text(
        "import dagster as dg\n\n@dg.asset\ndef samples():\n    return '$(touch hacked)\"; touch hacked; \\'x'\n"
    )
    project.write("""
      jobs:
        - asset: seen
          script: |
            printf %s "$1" >seen.txt
            ls >>seen.txt
          args: ["--in={{ deps.samples }}"]
          outputs: {seen: seen.txt}
    """)
    seen = output(run(project.load(), instance), "seen", "seen")
    assert seen.startswith("--in=$(touch hacked)\"; touch hacked; 'x")
    assert "hacked\n" not in seen.replace("touch hacked", "")


def test_files_beside_the_yaml_lie_in_the_directory_of_the_job(project: Project, instance: dg.DagsterInstance) -> None:
    project.write(
        """
      jobs:
        - asset: shown
          script: bash show.sh >shown.txt
          files: [show.sh]
          outputs: {shown: shown.txt}
    """,
        show__sh="echo from the file\n",
    )
    assert output(run(project.load(), instance), "shown", "shown") == "from the file\n"


def test_an_asset_shows_what_the_yaml_says_of_it(project: Project) -> None:
    project.write("""
      jobs:
        - asset: chemistry/energy
          script: echo
          description: The energy.
          group_name: nightly
          owners: ["team:chemistry"]
          tags: {tier: daily}
          kinds: [csv]
          deps: [raw]
          automation_condition: eager
          pool: cluster
    """)
    node = project.load().resolve_asset_graph().get(dg.AssetKey(["chemistry", "energy"]))
    assert node.description == "The energy."
    assert (node.group_name, node.owners, node.pools) == ("nightly", ["team:chemistry"], {"cluster"})
    assert (node.tags["tier"], node.kinds) == ("daily", {"hpc", "local", "csv"})
    assert node.parent_keys == {dg.AssetKey("raw")}
    assert node.automation_condition == dg.AutomationCondition.eager()


def test_the_code_version_follows_the_yaml_and_the_files_beside_it(project: Project) -> None:
    def version(script: str, content: str) -> str | None:
        project.write(f"jobs: [{{asset: shown, script: {script}, files: [show.sh]}}]", show__sh=content)
        return project.load().resolve_asset_graph().get(dg.AssetKey("shown")).code_version

    first = version("bash show.sh", "echo 1")
    assert first == version("bash show.sh", "echo 1")
    assert len({first, version("bash -e show.sh", "echo 1"), version("bash show.sh", "echo 2")}) == 3


def test_profile_overrides_and_retries_reach_the_job(project: Project, instance: dg.DagsterInstance) -> None:
    project.write("""
      profile: {walltime: 10:00:00, environments: {GREETING: "007"}}
      retry: usual
      jobs:
        - asset: greeting
          script: |
            echo "$GREETING" >said.txt
            [ -e FLAG ] || { touch FLAG; exit 3; }
          overrides: {ompthreads: 1}
          retry: [{after: [FAILED], exit_codes: [3]}]
          outputs: {said: said.txt}
    """.replace("FLAG", str(project.root / "flag")))
    result = run(project.load(), instance)
    assert output(result, "greeting", "said") == "007\n"
    made = result.asset_materializations_for_node("greeting")[0]
    assert made.metadata["attempts"].value is not None
    script = str(made.metadata["script"].value)
    assert "10:00:00" in script or "36000" in script


def test_a_project_with_a_runner_of_its_own_needs_no_target(project: Project, instance: dg.DagsterInstance) -> None:
    (project.defs / "resources.py").write_text(project.filled("""
import dagster as dg
import pytest
from dagster_hpc import ExecutionProfile, HPCJobRunner, LocalTarget

@dg.definitions
def resources() -> dg.Definitions:
    runner = HPCJobRunner(
        target=LocalTarget(spool="$SPOOL", poll_interval=0.2), work_root="$WORK",
        profiles={"small": ExecutionProfile(environments={"WHO": "the project"})},
    )
    return dg.Definitions(resources={"hpc": runner})
"""))
    project.write(
        """
      profile: small
      jobs:
        - {asset: who, script: 'echo "$WHO" >who.txt', outputs: {who: who.txt}}
    """,
        head="type: dagster_hpc.HPCJobComponent\nattributes:",
    )
    assert output(run(project.load(), instance), "who", "who") == "the project\n"


def test_two_files_with_targets_of_their_own_live_beside_each_other(
    project: Project, instance: dg.DagsterInstance
) -> None:
    for name in ("one", "two"):
        project.write(f"      jobs: [{{asset: {name}, script: echo {name}}}]", folder=name)
    definitions = project.load()
    assert sorted(definitions.resources or {}) == ["hpc_one", "hpc_two"]
    run(definitions, instance)


def test_two_components_of_one_file_have_runners_of_their_own(project: Project) -> None:
    path = project.write("      jobs: [{asset: one, script: echo}]")
    second = project.filled(HEAD).strip() + "\n  jobs: [{asset: two, script: echo}]\n"
    path.write_text(f"{path.read_text()}---\n{second}")
    assert sorted(project.load().resources or {}) == ["hpc_pipeline", "hpc_pipeline_1"]



def test_what_holds_for_all_jobs_stands_once_under_post_processing(
    project: Project, instance: dg.DagsterInstance
) -> None:
    path = project.write("jobs: [{asset: one, script: echo 1 >n, outputs: {n: n}}, {asset: two, script: echo}]")
    everywhere = "post_processing: {assets: [{target: '*', attributes: {group_name: climate}}]}\n"
    path.write_text(path.read_text() + everywhere)
    definitions = project.load()
    graph = definitions.resolve_asset_graph()
    assert {graph.get(dg.AssetKey(key)).group_name for key in ("one", "two")} == {"climate"}
    assert output(run(definitions, instance), "one", "n") == "1\n"


def test_a_variable_of_the_environment_fills_a_target_and_a_profile(
    project: Project, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", project.filled("$SPOOL"))
    monkeypatch.setenv("WHO", "007")
    head = 'type: dagster_hpc.HPCJobComponent\nattributes:\n  target: {kind: local, spool: "{{ env.PLACE }}"}'
    project.write(
        """
      work_root: $WORK
      profile: {environments: {WHO: "agent {{ env.WHO }}"}}
      jobs: [{asset: who, script: 'echo "$WHO" >who.txt', outputs: {who: who.txt}}]
    """,
        head=head,
    )
    assert output(run(project.load(), instance), "who", "who") == "agent 007\n"
