"""A short campaign; `make faults` runs the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.campaign.campaign import Campaign, Settings
from tests.systems.slurm import SlurmCluster


@pytest.mark.needs("slurm")
def test_no_fault_doubles_loses_or_misjudges_a_job(slurm: SlurmCluster, tmp_path: Path) -> None:
    report = Campaign(Settings(faults=40, seed=1, quiet=True), tmp_path / "campaign", slurm).run()
    print(report.table)
    assert report.findings.violations == []
    assert sum(report.faults.values()) >= 40
