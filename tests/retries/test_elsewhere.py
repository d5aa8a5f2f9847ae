"""How each system is told not to use a node, where it can be told."""

from __future__ import annotations

import pytest

from dagster_hpc.engine.job import JobSpec
from dagster_hpc.engine.schedulers import KINDS, scheduler_class
from dagster_hpc.engine.script import render_script

SAID = {
    "slurm": "#SBATCH --exclude=n1,n2.site",
    "sge": "#$ -l h_rt=00:05:00,h=!(n1|n2.site)",
    "lsf": "#BSUB -R \"select[hname!='n1' && hname!='n2.site']\"",
    "flux": '# flux: --requires="-host:n1 and -host:n2.site"',
}


def directives(kind: str, nodes: tuple[str, ...]) -> list[str]:
    spec = JobSpec(name="x", executable="/bin/x", exclude_nodes=nodes, queue="q", project="p")
    script = render_script(spec, scheduler_class(kind)(), directory="/scratch/x", token="k7m2x9qd")
    return [line for line in script.split("\n\n")[0].splitlines() if line.startswith("#")]


@pytest.mark.parametrize("kind", sorted(SAID))
def test_a_system_that_can_is_told(kind: str) -> None:
    assert SAID[kind] in directives(kind, ("n1", "n2.site"))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(SAID)))
def test_a_system_that_cannot_is_not_asked(kind: str) -> None:
    assert directives(kind, ("n1", "n2.site")) == directives(kind, ())
