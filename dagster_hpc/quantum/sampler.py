"""`QuantumSampler`: circuits are submitted once, and their shots fetched by whoever comes next."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import json
import secrets
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobFailed, JobLost
from dagster_hpc.engine.ledger.quantum import QuantumRow
from dagster_hpc.engine.process import new_owner
from dagster_hpc.metadata import TAG_JOB_ID
from dagster_hpc.quantum.once import Sender, submit_once
from dagster_hpc.quantum.values import QuantumJob, QuantumJobFailed, SamplesDamaged, Shots, shares
from dagster_hpc.resources.env_vars import env_value
from dagster_hpc.resources.step import Context, as_dagster_failure, asset_key_of

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

    from dagster_hpc.engine.ledger import Ledger

TAG_QUANTUM_JOB = f"{TAG_JOB_ID}.quantum"
Circuits: TypeAlias = "Sequence[QuantumCircuit] | Callable[[], Sequence[QuantumCircuit]]"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """Circuits as they are going to be submitted, and where to."""

    backend: str
    circuits: Sequence[Mapping[str, Any]]  # their figures
    send: Callable[[QuantumRow], str]  # hands them to the service, returns the job's name there


class QuantumSampler(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Measures circuits: on a quantum computer, or on what stands for one. Use one of its subclasses.

    The same circuits, shots, seed and options are one job, whoever asks, until it has failed: a second one who asks, a retry
    after a crash and tomorrow's run fetch its shots.

    Example:
        def counts(sampler: QuantumSampler) -> int:  # with any of them
            job = sampler.submit([bell], shots=1000, seed=24)  # returns once the service has the circuits
            shots = sampler.fetch(job)                         # in this process or another one, now or tomorrow
            return int(shots.bits.all(axis=1).sum())

        assert 400 < counts(LocalSampler()) < 600
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    ledger_url: str | None = Field(
        default=None, description="Database of the jobs; default: DAGSTER_HPC_LEDGER, or a local file."
    )
    poll_interval: float = Field(
        default=10.0, gt=0, description="Seconds between two questions about a job that is not over."
    )

    kind: ClassVar[str]
    _ledger: "Ledger | None" = PrivateAttr(None)

    def sample(self, circuits: Circuits, *, context: Context | None = None, **how: Any) -> Shots:
        """`submit` and `fetch` in one."""
        return self.fetch(self.submit(circuits, context=context, **how), context=context)

    def submit(
        self,
        circuits: Circuits,
        *,
        shots: int,
        seed: int,
        content: Mapping[str, Any] | None = None,
        context: Context | None = None,
        reuse: Literal["succeeded", "never"] = "succeeded",
    ) -> QuantumJob:
        """Submit these circuits, unless they were submitted before; return what finds the shots of all that they measure.

        Args:
            circuits: Qiskit's; or a function that builds them, which is called only if they have to be submitted.
            shots: Of all circuits together, shared out evenly.
            seed: Of the transpiler, and of a simulator.
            content: What the circuits are, in words that are the same in every process; default: a hash of their gates.
            reuse: never: submit a new job. A retry of the same Dagster run still finds its own.
        """
        with as_dagster_failure(context):
            words, built = self._content(circuits, content)
            if isinstance(shots, bool) or shots < 1:
                raise ConfigurationError(f"shots is {shots}: at least one is needed")
            asked = {"sampler": self.kind, "settings": self.settings(), "shots": shots, "seed": seed, **words}
            key = _key(asked, context, anew=reuse == "never")
            row, mine = self._once(key, built, shots, seed, context)
        _tell(context)(
            f"submitted quantum job {row.reference} to {row.backend}"
            if mine
            else f"these circuits are quantum job {row.reference} on {row.backend} already, and not submitted again"
        )
        if context is not None:
            context.instance.add_run_tags(context.run.run_id, {TAG_QUANTUM_JOB: str(row.reference)})
        return QuantumJob(
            key, row.token, self.kind, row.backend, str(row.reference), shots, row.circuits, asked, joined=not mine
        )

    def fetch(self, job: QuantumJob, *, context: Context | None = None) -> Shots:
        """The shots of a job, once it is over. A step that dies meanwhile fetches them in its next attempt.

        `QuantumJobFailed`, or `JobFailed` of a batch job: there are none, and the next `submit` submits anew.
        """
        if job.sampler != self.kind:
            raise ConfigurationError(f"job {job.reference} is one of a sampler {job.sampler!r}, this is {self.kind!r}")
        jobs = self.ledger.quantum
        with as_dagster_failure(context):
            try:
                shots = _cut(self.collect(job, _tell(context), context), job)
            except (QuantumJobFailed, SamplesDamaged, JobFailed) as error:
                if not isinstance(error, JobLost):  # a lost job may turn up again
                    jobs.failed(job.token, error.message)
                raise
        kept = jobs.row(job.token)
        if shots.times.submitted_at is None and kept is not None:
            shots = replace(shots, times=replace(shots.times, submitted_at=kept.submitted_at))
        jobs.done(job.token, vars(shots.times))
        return shots

    def jobs(self, limit: int = 100) -> list[QuantumRow]:
        """The quantum jobs in the ledger, newest first."""
        return self.ledger.quantum.recent(limit)

    @property
    def ledger(self) -> "Ledger":
        if self._ledger is None:
            from dagster_hpc.engine.ledger import Ledger

            url = self.place_of_ledger()
            self._ledger = Ledger(url and env_value(url))
        return self._ledger

    # -- what a subclass answers

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that decides the samples beside circuits, shots and seed: the device and its options."""

    @abstractmethod
    def prepare(self, circuits: "Sequence[QuantumCircuit]", shots: int, seed: int, context: Context | None) -> Prepared:
        """Everything that can be done, and can go wrong, before the claim."""

    def find(self, row: QuantumRow) -> str | None:
        """A job of this content that the service has. None: there is none, or sending it twice does no harm."""
        return None

    @abstractmethod
    def collect(self, job: QuantumJob, tell: Tell, context: Context | None) -> Shots:
        """Wait until the job is over, and read its shots."""

    def place_of_ledger(self) -> str | None:
        """The URL of the ledger; None: the user's."""
        return self.ledger_url

    def search_s(self) -> float:
        """How long after a submission that broke off its job may still turn up at the service."""
        return 0.0

    # -- the way there

    def _content(
        self, circuits: Any, content: Mapping[str, Any] | None
    ) -> tuple[dict[str, Any], Callable[[], Sequence[Any]]]:
        if callable(circuits):
            if content is None:
                raise ConfigurationError("a function that builds circuits needs `content`: what they are, in words")
            return {"content": dict(content)}, circuits
        given = list(circuits)
        if not given:
            raise ConfigurationError("there are no circuits to measure")
        if content is not None:
            return {"content": dict(content)}, lambda: given
        from dagster_hpc.quantum.circuits import fingerprint

        return {"content": {"circuits": fingerprint(given)}}, lambda: given

    def _once(
        self, key: str, built: Callable[[], Sequence[Any]], shots: int, seed: int, context: Context | None
    ) -> tuple[QuantumRow, bool]:
        jobs = self.ledger.quantum
        row = jobs.holder(key)
        if row is not None and row.reference is not None:
            return row, False
        circuits = list(built())
        unmeasured = [place for place, circuit in enumerate(circuits) if not circuit.num_clbits]
        if unmeasured or not circuits:
            raise ConfigurationError(f"circuits {unmeasured} measure nothing" if circuits else "there are no circuits")
        prepared = self.prepare(circuits, shots, seed, context)
        wanted = QuantumRow(
            secrets.token_hex(6),
            key,
            self.kind,
            prepared.backend,
            shots,
            new_owner(),
            circuits=tuple(prepared.circuits),
            asset_key=asset_key_of(context),
            run_id=context.run.run_id if context else None,
        )
        sender = Sender(prepared.send, self.find, self.search_s(), prepared.backend, prepared.circuits, _tell(context))
        return submit_once(jobs, wanted, sender)


def _key(asked: Mapping[str, Any], context: Context | None, *, anew: bool) -> str:
    """The same for the same content; for a job that shall be new, the same in all attempts of one run only."""
    salt = ""
    if anew:
        salt = (context.run.root_run_id or context.run.run_id) if context is not None else secrets.token_hex(16)
    return sha256(json.dumps([asked, salt], sort_keys=True).encode()).hexdigest()


def _cut(shots: Shots, job: QuantumJob) -> Shots:
    """As many shots of each circuit as were asked for; a service that takes one number for all gives some too many."""
    wanted = shares(job.shots, len(job.circuits))
    got = [len(part) for part in shots.parts]
    if len(got) != len(wanted) or any(one < share for one, share in zip(got, wanted, strict=True)):
        raise SamplesDamaged(
            f"job {job.reference} on {job.backend} gave {got} shots of its circuits, asked for were {wanted}",
            advice="ask again: they are measured anew.",
        )
    return replace(shots, parts=tuple(part[:share] for part, share in zip(shots.parts, wanted, strict=True)))


def _tell(context: Context | None) -> Tell:
    return context.log.info if context is not None else lambda words: None
