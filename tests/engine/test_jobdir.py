"""The names in a job's directory fit each other."""

from __future__ import annotations

import pytest

from dagster_hpc.engine import jobdir


def test_a_script_lies_where_no_input_can_be_and_leads_back_to_its_job() -> None:
    path = jobdir.script_path("/scratch/x/abcd2345", ".slurm")
    assert path == "/scratch/x/abcd2345/.job/script.slurm"
    assert jobdir.directory_of_script(path) == "/scratch/x/abcd2345"
    assert jobdir.directory_of_script("/vol0004/jobs/x/x.pjm") == "/vol0004/jobs/x"


@pytest.mark.parametrize("suffix", [".sh", ".slurm"])
def test_a_script_is_no_other_file_of_ours(suffix: str) -> None:
    assert jobdir.script_name(suffix).split("/")[1] not in (jobdir.COMMAND, jobdir.ELEMENTS, jobdir.STDIN)


def test_an_element_of_an_array_leads_to_the_array() -> None:
    element = jobdir.element_directory("/scratch/x/abcd2345", 7)
    assert element == "/scratch/x/abcd2345/7"
    assert jobdir.batch_directory(element, 7) == "/scratch/x/abcd2345"
    assert jobdir.batch_directory("/scratch/x/abcd2345", None) == "/scratch/x/abcd2345"


def test_the_folders_of_a_job_and_of_an_array() -> None:
    assert jobdir.folders() == [".job"]
    assert jobdir.folders(2) == [".job", ".job/ended", "0/.job", "1/.job"]
