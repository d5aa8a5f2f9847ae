"""Why Grid Engine has not started a job, in its own sentences: the `scheduling info` of `qstat -j`."""

from __future__ import annotations

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.schedulers.base import Outlook

_INFO = "scheduling info:"
_NOT_YET = "There are no messages available"  # before the scheduler has looked at the job
_MOST = 12  # a sentence for each queue instance: a large site has hundreds


def read(answer: Answer) -> Outlook:
    """It names no time. Where a site has `schedd_job_info false`, it says that, and no reason."""
    said: list[str] = []
    for line in answer.stdout.splitlines() if answer.code == 0 else ():
        if line.startswith(_INFO):
            said.append(line.removeprefix(_INFO).strip())
        elif said and line.startswith(" "):
            said.append(line.strip())
        elif said:
            break
    told = [words for words in dict.fromkeys(said) if words and words != _NOT_YET]
    return Outlook(words=tuple(told[:_MOST]))
