"""A mistake in a `defs.yaml` is told with its line, when the file is loaded."""

from __future__ import annotations

import pytest

from tests.components.project import Project


def complaint(project: Project) -> str:
    """The words of the error, and of those that it came from."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Dagster wraps it in errors of its own
        project.load()
    error: BaseException | None = caught.value
    words = []
    while error is not None:
        words.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(words)


def test_a_placeholder_of_an_unknown_output_names_the_nearest(project: Project) -> None:
    path = project.write("""
      jobs:
        - asset: numbers
          script: seq 10 >list.txt
          outputs: {list: list.txt}
        - asset: total
          script: wc -l "$1"
          args: [-l, "{{ deps.numbers.lst }}"]
    """)
    said = complaint(project)
    assert f"{path}:11: {{{{ deps.numbers.lst }}}} names no output of that job: did you mean 'list'?" in said


def test_an_unknown_placeholder_is_told_with_its_line_and_what_there_is(project: Project) -> None:
    path = project.write("""
      jobs:
        - asset: total
          script: echo "$1"
          args: ["{{ dep.numbers.list }}"]
    """)
    said = complaint(project)
    assert f"{path}:8" in said
    assert "'dep' not found in scope" in said
    assert "partition_key, deps" in said


def test_all_faults_come_at_once(project: Project) -> None:
    path = project.write("""
      jobs:
        - asset: total
          script: echo "{{ partition_key }}"
        - asset: total
          executable: bitcuont
          script: echo
          args: ["{{ partition_key }}"]
          files: [missing.inp]
    """)
    said = complaint(project)
    for line, words in {
        7: 'a script is no template: write args: ["{{ … }}"], and "$1" in the script',
        8: "two jobs make the asset 'total'",
        11: "{{ partition_key }}: the job has no partitions_def",
        12: f"there is no file 'missing.inp' in {path.parent}",
    }.items():
        assert f"{path}:{line}: {words}" in said
    assert "the job of 'total' has either a script or an executable" in said


def test_what_the_target_would_refuse_is_refused_when_the_file_is_loaded(project: Project) -> None:
    path = project.write("""
      profile: {walltime: soon}
      jobs:
        - asset: counted
          executable: bitcount
    """)
    said = complaint(project)
    assert f"{path}:7: " in said
    assert "soon" in said
    assert "executable 'bitcount' is not in the executable_map" in said


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("profil: small\njobs: [{asset: a, script: echo}]", "profil"),
        ("jobs: [{asset: a, script: echo, arguments: [b]}]", "arguments"),
        ("profile: {num_node: 2}\njobs: [{asset: a, script: echo}]", "num_node"),
        ("jobs: [{asset: a, script: echo, automation_condition: eagre}]", "did you mean 'eager'"),
        ("jobs: [{asset: a, script: echo, partitions_def: {type: dayly, start_date: '2026-01-01'}}]", "partitions_def"),
        ("retry: [{after: [TIMOUT]}]\njobs: [{asset: a, script: echo}]", "did you mean 'TIMEOUT'"),
        ("retry: [{on: [TIMEOUT]}]\njobs: [{asset: a, script: echo}]", "YAML takes the word `on` for a truth value"),
    ],
)
def test_a_mistyped_field_or_word_is_an_error_with_its_line(
    project: Project, attributes: str, words: str
) -> None:
    path = project.write(attributes)
    said = complaint(project)
    assert words in said
    assert f"{path}:5" in said


def test_a_target_that_is_written_here_needs_a_folder_for_its_jobs(project: Project) -> None:
    head = "type: dagster_hpc.HPCJobComponent\nattributes:\n  target: {kind: local}"
    path = project.write("jobs: [{asset: a, script: echo}]", head=head)
    assert f"{path}:3: a target that is written here needs a work_root" in complaint(project)


def test_a_file_without_attributes_says_what_is_missing(project: Project) -> None:
    path = project.write("jobs: [{asset: a, script: echo}]")
    path.write_text("type: dagster_hpc.HPCJobComponent\n")
    assert "write the jobs under `attributes: jobs:`" in complaint(project)


def test_of_a_target_only_what_is_wrong_with_its_own_kind_is_told(project: Project) -> None:
    head = "type: dagster_hpc.HPCJobComponent\nattributes:\n  target: {kind: slurm, queue: regular}"
    path = project.write("work_root: $WORK\njobs: [{asset: a, script: echo}]", head=head)
    said = complaint(project)
    assert f"slurm.queue at {path}:3`\n  Extra inputs are not permitted" in said
    assert "pbs" not in said
