"""What `dg scaffold defs dagster_hpc.HPCJobComponent my_job` writes: a file that works, and is to be changed."""

from __future__ import annotations

from typing import Any

import dagster as dg

_FIRST = """\
type: {type_name}

attributes:
  # Where the jobs run. Your cluster: {{kind: slurm, queue_cpu: …, project_cpu: …}}; pbs, pjm, torque, sge, lsf, flux, …
  target: {{kind: local}}
  work_root: ~/dagster-hpc-jobs    # a folder that the compute nodes see

  # How they run: num_nodes, mpiprocs, ompthreads, memory_per_node, launcher, modules, …
  profile: {{walltime: "00:05:00"}}

  jobs:
    - asset: {name}_numbers
      script: |
        seq 100 >numbers.txt
      outputs: {{numbers: numbers.txt}}

    - asset: {name}_total
      script: |
        awk '{{total += $1}} END {{print total}}' "$1" >total.txt
      args: ["{{{{ deps.{name}_numbers.numbers }}}}"]
      outputs: {{total: total.txt}}
"""


class JobScaffolder(dg.Scaffolder[Any]):
    """Writes the first `defs.yaml`: two small jobs on this machine."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write it, or add it to a file that is there."""
        name = "".join(letter if letter.isalnum() else "_" for letter in request.target_path.name)
        first = _FIRST.format(type_name=request.type_name, name=name)
        if request.scaffold_format == "python":
            dg.scaffold_component(request)
        elif request.append:
            with request.target_path.open("a", encoding="utf-8") as file:
                file.write(f"---\n{first}")
        else:
            request.target_path.mkdir(parents=True, exist_ok=True)
            (request.target_path / "defs.yaml").write_text(first, encoding="utf-8")
