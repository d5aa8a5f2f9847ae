"""`IBMSampler`: circuits are measured by IBM Quantum, or by one of its fake backends in this process."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from pydantic import Field, PrivateAttr

from dagster_hpc.engine.errors import ConfigurationError, SchedulerUnavailable
from dagster_hpc.engine.ledger.quantum import QuantumRow
from dagster_hpc.quantum.circuits import figures
from dagster_hpc.quantum.local import local_folder
from dagster_hpc.quantum.request import REQUEST, read_samples, write_samples, write_whole
from dagster_hpc.quantum.sampler import Prepared, QuantumSampler, Tell
from dagster_hpc.quantum.values import QuantumJob, QuantumJobFailed, QuantumTimes, Shots, each_of, rows_of
from dagster_hpc.resources.env_vars import env_value
from dagster_hpc.resources.step import Context

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

T = TypeVar("T")
FAKE = "fake_"  # so the names of the fake backends begin
_OVER = ("DONE", "ERROR", "CANCELLED")
_SILENT_S = 1800.0  # a service that does not answer for so long ends the wait, not the job


class IBMSampler(QuantumSampler):
    """IBM Quantum by qiskit-ibm-runtime. The account is the saved one, or the one in its environment variables.

    A backend called fake_… is simulated in this process and needs no account: with that device's noise where qiskit-aer is
    installed, else without noise and up to 24 qubits of the device.

    Example:
        IBMSampler(backend="ibm_kawasaki", options={"dynamical_decoupling": {"enable": True}})
        shots = IBMSampler(backend="fake_manila").sample([bell], shots=100, seed=24)
    """

    backend: str | None = Field(default=None, description="Name of the device; default: the least busy one.")
    account: str | None = Field(default=None, description="Name of the saved account; default: the default account.")
    instance: str | None = Field(default=None, description="Service instance (CRN or name).")
    optimization_level: int = Field(default=3, ge=0, le=3, description="Of the transpiler.")
    options: dict[str, Any] = Field(
        default={}, description="Sampler options, as in {'dynamical_decoupling': {'enable': True}}."
    )
    search: float = Field(
        default=60.0, ge=0,
        description="Seconds after a submission that broke off in which its job may still turn up at the service.",
    )  # fmt: skip
    folder: str | None = Field(
        default=None, description="Where samples of fake backends lie; default: beside the ledger of this user."
    )

    kind: ClassVar[str] = "ibm"
    _backend: Any = PrivateAttr(None)
    _service: Any = PrivateAttr(None)

    def on(self, backend: Any) -> "IBMSampler":
        """The same sampler on this Qiskit backend, such as a local fake one, in place of the one that is named."""
        other = self.model_copy(update={"backend": str(backend.name)})
        other._backend = backend
        return other

    def settings(self) -> dict[str, Any]:
        return {
            "backend": self.backend or "least busy",
            "optimization_level": self.optimization_level,
            "options": self.options,
        }

    def search_s(self) -> float:
        return 0.0 if self._is_fake else self.search

    def prepare(self, circuits: "Sequence[QuantumCircuit]", shots: int, seed: int, context: Context | None) -> Prepared:
        from qiskit.transpiler import generate_preset_pass_manager

        backend = self._device()
        needed, most = max(circuit.num_qubits for circuit in circuits), getattr(backend, "num_qubits", None)
        if most is not None and needed > most:
            raise ConfigurationError(f"{needed} qubits are needed, {backend.name} has {most}")
        of_transpiler, of_simulator = (int(one) >> 1 for one in np.random.SeedSequence(seed).generate_state(2))
        manager = generate_preset_pass_manager(
            optimization_level=self.optimization_level, backend=backend, seed_transpiler=of_transpiler
        )
        sent = [manager.run(circuit) for circuit in circuits]
        each = each_of(shots, len(sent))

        def send(row: QuantumRow) -> str:
            if self._is_fake:
                return self._simulated(backend, sent, each, of_simulator, row)
            options = dict(self.options)
            environment = dict(options.get("environment", {}))
            environment["job_tags"] = [*environment.get("job_tags", []), tag_of(row.key)]
            with _in_ibms_words("take the job for sure", "the next attempt looks for it by its tag"):
                return str(_run(backend, sent, each, {**options, "environment": environment}).job_id())

        return Prepared(str(backend.name), [figures(circuit) for circuit in sent], send)

    def find(self, row: QuantumRow) -> str | None:
        """By its tag: of a submission that broke off, or from a ledger that was lost."""
        if self._is_fake:
            return None
        with _in_ibms_words("list the jobs", "nothing was submitted"):
            service, tags = self._opened(), [tag_of(row.key)]
            found = [
                job
                for instance in self._instances(service)
                for job in service.jobs(limit=None, job_tags=tags, descending=False, instance=instance)
            ]
            alive = [job.job_id() for job in found if _word(job.status()) not in ("ERROR", "CANCELLED")]
        for copy in alive[1:]:
            self.ledger.quantum.add_copy(row.token, copy)
        return alive[0] if alive else None

    def collect(self, job: QuantumJob, tell: Tell, context: Context | None) -> Shots:
        place = Path(job.reference)
        if place.is_absolute():
            return Shots(*read_samples(place, place))
        found = self._patiently(lambda: self._job(job.reference), tell)
        before = ""
        while (status := self._patiently(lambda: _word(found.status()), tell)) not in _OVER:
            if status != before:
                tell(f"job {job.reference} on {job.backend}: {status}")
            before = status
            time.sleep(self.poll_interval)
        if status != "DONE":
            why = self._patiently(found.error_message, tell) or "the service says no more"
            raise QuantumJobFailed(f"job {job.reference} on {job.backend} ended as {status}: {why}")
        outcomes = self._patiently(found.result, tell)
        times = _times_of(self._patiently(found.metrics, tell))
        return Shots(tuple(rows_of(outcome.join_data()) for outcome in outcomes), times)

    def outcome(self, job_id: str) -> Shots:
        """The shots of a job by its id, whoever submitted it: no ledger knows of it."""
        return self.collect(QuantumJob("", "", self.kind, "IBM Quantum", job_id, 0, (), {}), lambda words: None, None)

    @property
    def _is_fake(self) -> bool:
        if self._backend is None:
            return self.backend is not None and self.backend.startswith(FAKE)
        from qiskit_ibm_runtime import IBMBackend

        return not isinstance(self._backend, IBMBackend)

    def _device(self) -> Any:
        ibm_runtime()
        if self._backend is not None:
            return self._backend
        if self._is_fake:
            from qiskit.providers.exceptions import QiskitBackendNotFoundError
            from qiskit_ibm_runtime.fake_provider import FakeProviderForBackendV2

            try:
                return FakeProviderForBackendV2().backend(self.backend)
            except QiskitBackendNotFoundError:
                raise ConfigurationError(f"qiskit-ibm-runtime has no fake backend {self.backend!r}") from None
        with _in_ibms_words("name the backend", "nothing was submitted"):
            service = self._opened()
            if self.backend:
                return service.backend(self.backend)
            return service.least_busy(operational=True, simulator=False)

    def _opened(self) -> Any:
        if self._service is None:
            account, instance = (one and env_value(one) for one in (self.account, self.instance))
            self._service = ibm_runtime().QiskitRuntimeService(name=account, instance=instance)
        return self._service

    def _instances(self, service: Any) -> list[str | None]:
        """Where a job of this sampler may be: the least busy device is in any instance of the account."""
        if self.instance is not None:
            return [None]
        return [one["crn"] for one in service.instances()] or [None]

    def _job(self, job_id: str) -> Any:
        ibm_runtime()
        from qiskit_ibm_runtime.exceptions import RuntimeJobNotFound

        with _in_ibms_words("be asked for the job", "the job is not touched: fetch it again"):
            service = self._opened()
            try:
                return service.job(job_id)
            except RuntimeJobNotFound:
                for instance in self._instances(service):  # the client looks only where it has been before
                    service.jobs(limit=1, instance=instance)
            try:
                return service.job(job_id)
            except RuntimeJobNotFound as error:
                raise ConfigurationError(
                    f"IBM Quantum knows no job {job_id}: {error}",
                    advice="check account and instance. If it was deleted there, reuse='never' submits a new one.",
                ) from error

    def _simulated(self, backend: Any, circuits: Sequence[Any], shots: int, seed: int, row: QuantumRow) -> str:
        """A fake backend forgets its jobs with its process: the samples are kept as files."""
        from qiskit.exceptions import QiskitError

        place = local_folder(self.folder) / row.token
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_whole(place / REQUEST, row.key.encode())
        options: dict[str, Any] = {"simulator": {"seed_simulator": seed}, **self.options}
        began = time.time()
        try:
            outcomes = _run(backend, circuits, shots, options).result()
        except QiskitError as error:
            raise ConfigurationError(
                f"{backend.name} cannot be simulated here: {error}",
                advice="install qiskit-aer, or take a smaller device, such as fake_manila or fake_guadalupe.",
            ) from error
        times = QuantumTimes(began, began, time.time())
        write_samples(place, place, [rows_of(outcome.join_data()) for outcome in outcomes], times)
        return str(place)

    def _patiently(self, ask: Callable[[], T], tell: Tell) -> T:
        """A service that does not answer is asked again: a job in a queue of hours outlives many a network."""
        began: float | None = None
        while True:
            try:
                with _in_ibms_words("be asked for the job", "the job is not touched: fetch it again"):
                    return ask()
            except SchedulerUnavailable as error:
                began = time.monotonic() if began is None else began
                if time.monotonic() - began > _SILENT_S:
                    raise
                tell(error.message)
                time.sleep(self.poll_interval)


def tag_of(key: str) -> str:
    """The tag by which a job is found at the service when its id was lost."""
    return f"dagster_hpc-{key[:32]}"


def ibm_runtime() -> Any:
    """The module qiskit_ibm_runtime; a sentence where it is not installed."""
    try:
        import qiskit_ibm_runtime
    except ImportError:
        raise ConfigurationError(
            "IBM Quantum needs qiskit-ibm-runtime, which is not installed", advice='pip install "dagster-hpc[ibm]"'
        ) from None
    return qiskit_ibm_runtime


def _run(backend: Any, circuits: Sequence[Any], shots: int, options: Mapping[str, Any]) -> Any:
    return ibm_runtime().Sampler(mode=backend, options=dict(options)).run(circuits, shots=shots)


@contextmanager
def _in_ibms_words(deed: str, advice: str) -> Iterator[None]:
    """What qiskit-ibm-runtime raises while the service is asked, network trouble included."""
    from qiskit.exceptions import QiskitError

    try:
        yield
    except (QiskitError, OSError) as error:
        raise SchedulerUnavailable(f"IBM Quantum could not {deed}: {error}", advice=advice) from error


def _word(status: Any) -> str:
    """A status in one word; older jobs have an enumeration of them."""
    return str(getattr(status, "name", status))


def _times_of(metrics: Mapping[str, Any]) -> QuantumTimes:
    stamps, usage = metrics.get("timestamps") or {}, metrics.get("usage") or {}
    created, running, finished = (_seconds(stamps.get(name)) for name in ("created", "running", "finished"))
    charged = usage.get("qpu_charge_time_seconds", usage.get("quantum_seconds"))
    if usage.get("status") == "pending":  # the service counts for a while
        charged = None
    return QuantumTimes(created, running, finished, None if charged is None else float(charged))


def _seconds(stamp: str | None) -> float | None:
    return None if not stamp else datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
