"""Why a job waits, or how it ended, in sentences; and what could be changed. Pure: from facts, with no Dagster.

The sentences themselves come from where they are known: a pending reason from its scheduler's vocabulary, the advice on
an end from the error that it is. Here they are put together with the job's own figures.
"""

from dagster_hpc.explain.explanation import Explanation, Facts
from dagster_hpc.explain.states import explain

__all__ = ["Explanation", "Facts", "explain"]
