"""When PBS (or Torque) expects a waiting job to start, and what its scheduler has noted: from `qstat -f` of this job."""

from __future__ import annotations

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Outlook
from dagster_hpc.engine.schedulers.pbs.records import integer, only_record, stamp


def read(answer: Answer) -> Outlook:
    """PBS estimates the start of the few jobs that come next (`estimated.start_time`), and of no others."""
    for record in only_record(answer.stdout).values() if answer.code == 0 else ():
        told = record.of("estimated.start_time")
        seconds = integer(told)
        comment = record.of("comment").strip()
        return Outlook(float(seconds) if seconds else stamp(told), (comment,) if comment else ())
    return Outlook()
