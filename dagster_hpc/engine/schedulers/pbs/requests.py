"""PBS Professional and OpenPBS: what qsub, qstat, qdel and qselect are asked.

What sites have differs: qstat may know no JSON, or show in it the first job only, and shows jobs that are over under `-x`,
or on some sites `-H`, or not at all. Nothing of that is assumed. An answer that shows it leads to the class or option that
fits (`Report.instead`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobSpec, JobStatus
from dagster_hpc.engine.schedulers.base import Outlook, Report, Room, Scheduler
from dagster_hpc.engine.schedulers.pbs import limits, outlook, replies, words
from dagster_hpc.engine.schedulers.pbs.records import Record, only_record, records, server_name
from dagster_hpc.engine.units import format_walltime

# The client tries again by itself while the server is busy; cutting it short makes an ambiguous submit.
SUBMIT_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class PBS(Scheduler):
    """PBS as stock OpenPBS has it. `past` is the option under which its qstat shows jobs that are over."""

    kind: ClassVar[str] = "pbs"
    suffix: ClassVar[str] = ".pbs"
    template: ClassVar[str] = "pbs.sh.j2"
    job_id_variable: ClassVar[str] = "PBS_JOBID"
    index_variable: ClassVar[str] = "PBS_ARRAY_INDEX"
    name_limit: ClassVar[int] = 15  # old versions refuse more, and the plain qstat of all versions shows no more
    ids_per_call: ClassVar[int] = 200
    history_ids_per_call: ClassVar[int] = 200
    lacks: ClassVar[dict[str, str]] = {
        "qos": "PBS has no quality of service (qos): choose a queue, or write the site's own line into directives",
        "signal": "PBS cannot send a signal before the walltime ends (signal_before_end): set a timer in the command",
        "srun": "PBS has no launcher srun: choose mpirun, mpiexec or mpiexec.hydra",
    }

    most_elements: ClassVar[int | None] = None  # of one array, where a site's server takes fewer than it says

    past: str = "-x"

    _form: ClassVar[tuple[str, ...]] = ("-F", "json")

    # -- which server it is

    def identify(self) -> Call | None:
        return Call(("qstat", "-B", "-f"))  # without -f the name would be cut

    def read_identity(self, answer: Answer) -> str:
        if replies.refused_option(answer) is not None:  # a site's own qstat; the name stands in every job id, too
            return ""
        return server_name(answer, "PBS")

    # -- what the script says

    def resources(self, spec: JobSpec) -> dict[str, str]:
        """What -l asks for. Of two lines PBS takes the first, so what a profile's own lines ask for is left to them."""
        storage = spec.option("storage")
        own = {
            "select": self.select(spec),
            "place": self.place(spec),
            "walltime": self.walltime(spec),
            "storage": self.value(storage) if storage else "",
        }
        theirs = _resources_in(spec.directives)
        if "nodes" in theirs:  # as it was said before there was select; both in one job are refused
            theirs |= {"select", "place"}
        return {name: amount for name, amount in own.items() if amount and name not in theirs}

    def select(self, spec: JobSpec) -> str:
        """The chunks: one for each node."""
        parts = [str(spec.nodes), f"ncpus={spec.cores_per_node}", f"mpiprocs={spec.ranks_per_node}"]
        if spec.threads_per_rank:
            parts.append(f"ompthreads={spec.threads_per_rank}")
        if spec.gpus_per_node:
            parts.append(f"ngpus={spec.gpus_per_node}")
        if spec.memory_per_node_mib:
            parts.append(f"mem={spec.memory_per_node_mib}mb")
        return ":".join(parts)

    def place(self, spec: JobSpec) -> str:
        """One chunk on each node, and nobody else there if so asked; empty where it does not matter."""
        wanted = [("scatter", spec.nodes > 1), ("excl", spec.exclusive)]
        return ":".join(word for word, is_wanted in wanted if is_wanted)

    def walltime(self, spec: JobSpec) -> str:
        return format_walltime(spec.walltime_s)  # PBS knows no days

    def array(self, spec: JobSpec) -> str:
        """PBS takes no array of one element: that is a plain job, whose script sees no index and takes it for 0."""
        if len(spec.elements) < 2:
            return ""
        return f"0-{len(spec.elements) - 1}{f'%{spec.element_limit}' if spec.element_limit else ''}"

    def dependency(self, spec: JobSpec) -> str:
        return ",".join(f"{dependency.kind}:{dependency.job_id}" for dependency in spec.dependencies)

    def value(self, text: str) -> str:
        """A word in a directive. PBS splits at blanks, and knows no way to hide a quote."""
        if re.search(r"[\s\"'\\#]", text) or not text.isascii():
            raise ConfigurationError(
                f"{text!r} cannot stand in a PBS directive: it has blanks, quotes or foreign letters"
            )
        return text

    def log_path(self, spec: JobSpec, directory: str) -> str:
        if not directory.isascii() or re.search(r"[\"'\\:,\n\r]", directory):
            raise ConfigurationError(
                f"{directory!r} cannot be the folder of a PBS log: letters beyond ASCII, quotes, colons and commas are "
                f"refused there",
                advice="choose another work_root.",
            )
        where = f"{directory}/^array_index^" if self.array(spec) else f"{directory}/0" if spec.is_array else directory
        return f'"{where}/scheduler.log"' if " " in where else f"{where}/scheduler.log"

    # -- submit

    def submit(self, script: str) -> Call:
        return Call(("qsub", script), SUBMIT_TIMEOUT_S)

    def read_submit(self, answer: Answer) -> str:
        return replies.submitted(answer)

    # -- status

    def queue(self, ids: Sequence[str]) -> Call:
        return self._qstat(ids)

    def history(self, ids: Sequence[str]) -> Call:
        return self._qstat(ids, self.past)

    def _qstat(self, ids: Sequence[str], *options: str) -> Call:
        elements = ("-t",) if any("[]" in job_id for job_id in ids) else ()
        return Call(("qstat", *options, "-f", *self._form, *elements, *ids))

    def read_queue(self, answer: Answer) -> Report:
        return self._read(answer, past=False)

    def read_history(self, answer: Answer) -> Report:
        if words.NO_HISTORY in answer.stderr:
            return Report(disabled=True)
        return self._read(answer, past=True)

    def _read(self, answer: Answer, *, past: bool) -> Report:
        if answer.timed_out:
            return Report(failed=answer.words)
        if answer.code != 0 and (letter := replies.refused_option(answer)) is not None:
            return self._otherwise(letter, answer, past=past)
        if past and self.past == "-x" and words.HAS_FINISHED in answer.stderr:  # then -x has no meaning here
            return Report(instead=replace(self, past="-H"))
        found = self._records(answer.stdout)
        if found is None:
            return self._otherwise("F", answer, past=past)
        understood = found or answer.code != 0 or not answer.stdout.strip() or self._form == PBS._form
        if not understood:
            if past and replies.is_short_table(answer):  # and -x is not known
                return Report(disabled=True)
            return Report(failed=f"qstat's answer is not understood: {answer.stdout[:200]!r}")
        report = replies.jobs_report(answer, found)
        left_out = [] if report.failed else replies.left_out(answer, found)
        if left_out and (plainer := _PLAINER.get(self._form)):
            return Report(instead=plainer(self.past))
        if left_out:
            return Report(failed=f"qstat says nothing of job {left_out[0]}: {answer.words[:200]!r}")
        return report

    def _otherwise(self, letter: str, answer: Answer, *, past: bool) -> Report:
        """How to ask a qstat that does not know this option, or does not give what it promises."""
        if past and letter in ("x", "H"):
            return Report(instead=replace(self, past="-H")) if self.past == "-x" else Report(disabled=True)
        plainer = _PLAINER.get(self._form)
        if letter in ("F", "w", "") and plainer:
            return Report(instead=plainer(self.past))
        if past and not letter and self.past == "-x":
            return Report(instead=replace(self, past="-H"))
        return Report(failed=answer.words)

    def _records(self, text: str) -> dict[str, Record] | None:
        return replies.from_json(text)

    def read_log(self, text: str) -> JobStatus | None:
        """What the log of a job that is over says was done to it; None where it says nothing of the kind."""
        return replies.last_words(text)

    # -- room

    def room(self, user: str, queue: str, project: str) -> list[Call]:
        return limits.questions(user, queue)

    def read_room(self, answers: Sequence[Answer]) -> Room:
        return limits.room(answers, self.most_elements)

    # -- outlook

    def outlook(self, job_id: str) -> Call:
        return Call(("qstat", "-f", job_id))

    def read_outlook(self, answer: Answer) -> Outlook:
        return outlook.read(answer)

    # -- find and cancel

    def find(self, job_name: str) -> list[Call]:
        return [Call(("qselect", "-N", job_name)), Call(("qselect", "-x", "-N", job_name))]

    def read_found(self, answer: Answer) -> list[str]:
        return replies.found(answer)

    def cancel(self, ids: Sequence[str]) -> Call:
        return Call(("qdel", *ids))

    def read_cancel(self, answer: Answer) -> None:
        replies.check_cancelled(answer)

    def element_id(self, job_id: str, index: int) -> str:
        return job_id.replace("[]", f"[{index}]", 1)

    def array_id(self, element_id: str) -> str:
        return re.sub(r"^(\d+)\[\d+\]", r"\1[]", element_id)


@dataclass(frozen=True)
class WidePBS(PBS):
    """PBS asked for text that is not wrapped: where there is no JSON, or it is not valid."""

    _form: ClassVar[tuple[str, ...]] = ("-w",)

    def _records(self, text: str) -> dict[str, Record] | None:
        return records(text)


@dataclass(frozen=True)
class PlainPBS(PBS):
    """PBS asked for wrapped text. In it a job can forge others, so each is asked for by itself."""

    ids_per_call: ClassVar[int] = 1
    history_ids_per_call: ClassVar[int] = 1

    _form: ClassVar[tuple[str, ...]] = ()

    def _qstat(self, ids: Sequence[str], *options: str) -> Call:
        return super()._qstat(ids[:1], *options)

    def _records(self, text: str) -> dict[str, Record] | None:
        return only_record(text)

    def array_id(self, element_id: str) -> str:
        return element_id


# A site's variant is asked in other words like any PBS: these tell of its jobs all the same.
_PLAINER: dict[tuple[str, ...], type[PBS]] = {PBS._form: WidePBS, WidePBS._form: PlainPBS}


@dataclass(frozen=True)
class Gadi(PBS):
    """PBS as NCI's Gadi has it: what a site costs that differs in its limits and its directives only."""

    kind: ClassVar[str] = "gadi"
    dialect_of: ClassVar[str] = "pbs"
    most_elements: ClassVar[int | None] = 10  # its server's max_array_size, though max_queued is a thousand


def _resources_in(directives: Sequence[str]) -> set[str]:
    """The names that the -l options of these lines ask for."""
    lists = [each for line in directives if line.startswith("#PBS") for each in re.findall(r"\s-l\s*(\S+)", line)]
    return {item.partition("=")[0] for each in lists for item in each.split(",")}
