"""RUN: the resource that assets, ops and plain scripts ask to run a job."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `target` as a type, to accept a resource
# that is configured at launch in its place.

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr
from typing_extensions import Unpack

from dagster_hpc.engine.call import Answer
from dagster_hpc.engine.clock import SYSTEM_CLOCK
from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.engine.job import JobHandle, JobResult, JobState
from dagster_hpc.engine.script import render_script
from dagster_hpc.engine.target import Listener, Patience, script_stem
from dagster_hpc.python_calls.interpreter import Interpreter
from dagster_hpc.resources.call_future import CallFuture, values_of
from dagster_hpc.resources.calls import map_calls, submit_call
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.env_vars import env_value, with_env_values
from dagster_hpc.resources.identity import CallCounter
from dagster_hpc.resources.interruption import interruptible
from dagster_hpc.resources.page import page_of
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.request import JobRequest, RequestOptions
from dagster_hpc.resources.retry import RetryRule
from dagster_hpc.resources.step import (
    Context,
    as_dagster_failure,
    listener_of,
    recipient_of,
)
from dagster_hpc.resources.submission import Element, Submitting
from dagster_hpc.resources.targets.base import HPCTarget
from dagster_hpc.shown_text import without_values

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow, Report
    from dagster_hpc.engine.runner import Runner


class HPCJobRunner(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Runs commands as batch jobs: the one way from Dagster (or a plain script) to a scheduler.

    Example:
        hpc = HPCJobRunner(
            target=SlurmTarget(queue_cpu="regular"),
            profiles={"small": ExecutionProfile(walltime="00:10:00")},
            work_root="/scratch/me/dagster",
        )
        result = hpc.run(Command("/apps/bitcount", args=["--help"]), profile="small")
    """

    model_config = ConfigDict(extra="forbid")  # a mistyped field is an error, not silently the default

    target: HPCTarget
    profiles: dict[str, ExecutionProfile] = Field(default={}, description="Execution profiles by name.")
    default_profile: str = Field(default="", description="The profile of those who name none.")
    profiles_elsewhere: dict[str, str] = Field(
        default={}, description="Profiles that are not for this target, and why: who asks for one is told it."
    )
    work_root: str = Field(
        description="Folder for the jobs' directories, visible on the compute nodes. ~ and $VAR work."
    )
    reuse: Literal["running", "succeeded", "never"] = Field(
        default="running",
        description="running: join an equal live job; succeeded: also take the results of a finished one; never.",
    )
    retry: list[RetryRule] = Field(
        default=[], description="After which ends a job is submitted again, with what more; nothing: never."
    )
    on_interrupt: Literal["cancel", "detach"] = Field(
        default="cancel",
        description="What becomes of the job when a user terminates the run: cancel it, or let it go on.",
    )
    ledger_url: str | None = Field(
        default=None, description="Database of the jobs; default: DAGSTER_HPC_LEDGER, or a local file."
    )

    _runner: "Runner | None" = PrivateAttr(None)
    _where: HPCTarget | None = PrivateAttr(None)
    _calls: CallCounter = PrivateAttr(default_factory=CallCounter)
    _secrets: set[str] = PrivateAttr(default_factory=set)
    _patience: Patience | None = PrivateAttr(None)
    _interpreters: "dict[Interpreter, Answer]" = PrivateAttr(default_factory=dict)

    def get_resource_definition(self) -> Any:
        """With the words of its target and profiles in place of this class's: Dagster's page of the resource shows them."""
        definition = super().get_resource_definition()
        definition._description = page_of(self.target, self.profiles)
        return definition

    def run(
        self,
        command: Command,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> JobResult:
        """Run a command as a job and return its result once it has ended well. See `JobRequest` for the options.

        A job that ended otherwise raises `JobFailed` (with its result); inside Dagster (`context` given) a `dg.Failure`
        that carries the same metadata. `timeout` (seconds) ends the wait with `WaitTimeout`, not the job.
        """
        with as_dagster_failure(context):
            handle = self.submit(command, context=context, **options)
            return self.wait(handle, context=context, timeout=timeout)

    def submit(
        self, command: Command, *, context: Context | None = None, **options: Unpack[RequestOptions]
    ) -> JobHandle:
        """Submit a job and return at once. The handle finds it again, in this process or another.

        Where the target has no room (`max_jobs`) the job waits in the ledger, without an id, and is submitted by
        whoever polls next. See `JobRequest` for the options.
        """
        return self._submitting(context).one(command, JobRequest(**options))

    def submit_all(
        self,
        commands: Sequence[Command],
        *,
        context: Context | None = None,
        max_running: int | None = None,
        partition_keys: Sequence[str] | None = None,
        **options: Unpack[RequestOptions],
    ) -> list[JobHandle]:
        """Submit these commands as one array job and return at once, a handle for each.

        They may be different programs. Each runs in a folder of its own, with its own inputs in it; `inputs` of the
        request lie one above (`../name`). `max_running` limits how many run at once. `partition_keys`: of the asset,
        one for each command. On a system without array jobs each is a job of its own. See `JobRequest` for the options.
        """
        keys: Sequence[str | None] = [None] * len(commands) if partition_keys is None else partition_keys
        elements = [Element(command, partition_key=key) for command, key in zip(commands, keys, strict=True)]
        return self._submitting(context).array(elements, JobRequest(**options), max_running)

    def wait(self, handle: JobHandle, *, context: Context | None = None, timeout: float | None = None) -> JobResult:
        """The result of a submitted job, once it has ended well; raises as `run` does."""
        with as_dagster_failure(context), interruptible(self, [handle], context):
            return self._wait([handle], context, timeout, listener_of(context))[0].raise_for_state()

    def wait_all(
        self, handles: Sequence[JobHandle], *, context: Context | None = None, timeout: float | None = None
    ) -> list[JobResult]:
        """The results of these jobs in their order, failed ones too: `raise_for_state()` on each tells."""
        with as_dagster_failure(context), interruptible(self, handles, context):
            results = self._wait(handles, context, timeout, listener_of(context, array=self._called(handles)))
        return [replace(result, index=index) for index, result in enumerate(results)]

    def as_completed(
        self, handles: Sequence[JobHandle], *, context: Context | None = None, timeout: float | None = None
    ) -> Iterator[JobResult]:
        """The results of these jobs as they end, failed ones too. `index` is the place of its handle among `handles`."""
        listener = listener_of(context, array=self._called(handles))
        with as_dagster_failure(context), interruptible(self, handles, context):
            yield from self._engine().as_completed(
                handles, timeout_s=timeout, listener=listener, recipient=recipient_of(context)
            )

    def map(
        self,
        command: Command,
        args_list: Sequence[Sequence[str]],
        *,
        context: Context | None = None,
        timeout: float | None = None,
        max_running: int | None = None,
        **options: Unpack[RequestOptions],
    ) -> list[JobResult]:
        """Run a command once for each list of further arguments, all as one array job.

        Every element runs in a folder of its own; `inputs` lie one above (`../name`). The results come in the order of
        `args_list`, failed ones too: `raise_for_state()` on each tells. `max_running` limits how many run at once.
        Asked again, the elements that have ended well are taken, and only the others run. On a system without array
        jobs each element is a job of its own, and all else is the same. See `JobRequest` for the options.
        """
        request = JobRequest(**options)
        shared = replace(request, inputs={**command.inputs, **(request.inputs or {})})
        elements = [Element(replace(command, inputs={}), args) for args in args_list]
        with as_dagster_failure(context):
            handles = self._submitting(context).array(elements, shared, max_running)
        return self.wait_all(handles, context=context, timeout=timeout)

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> Any:
        """Run a Python function as a job and return what it returns; what it raises is raised here.

        `kwargs` are the function's arguments by name. See docs/python-functions.md for how it gets there, `JobRequest` for
        the options.
        """
        future = self.submit_call(function, *arguments, kwargs=kwargs, context=context, **options)
        return future.result(timeout)

    def submit_call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
        **options: Unpack[RequestOptions],
    ) -> CallFuture:
        """Submit a call and return at once. A future among the arguments becomes a dependency between the jobs."""
        return submit_call(self, function, arguments, kwargs, JobRequest(**options), context)

    def map_calls(
        self,
        function: Callable[..., Any],
        *iterables: Iterable[Any],
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
        timeout: float | None = None,
        max_running: int | None = None,
        return_exceptions: bool = False,
        **options: Unpack[RequestOptions],
    ) -> list[Any]:
        """Call a function for each of these arguments, as `map` does, all as one array job. The values in their order.

        If a call fails, the first that did is raised when all are over; with `return_exceptions` each stands in the place
        of its value. `max_running` limits how many run at once.
        """
        arguments = list(zip(*iterables, strict=False))
        calls = map_calls(self, function, arguments, kwargs, JobRequest(**options), context, max_running)
        return values_of(calls, timeout, return_exceptions=return_exceptions)

    def render(self, command: Command, **options: Unpack[RequestOptions]) -> str:
        """The very script that `run` would submit, with a token of zeros. Nothing is written or submitted."""
        spec = self._submitting(None).spec(command, JobRequest(**options))
        token = "0" * 8
        target = self.where.engine_target()
        directory = os.path.join(self.folder, script_stem(spec.name), token)
        return render_script(spec, target.scheduler, directory=directory, token=token, template=target.template)

    def cancel(self, handle: JobHandle) -> None:
        """Cancel a job; nothing happens to one that is over."""
        self._engine().cancel([handle])

    def delivered(self, results: Sequence[JobResult]) -> None:
        """These results are where they belong, for good: another request for the same work is new work.

        A result that is returned to a script, or to a step that succeeds, is delivered by itself. This is for a step
        that keeps some of its results for good though it may fail in the end.
        """
        self._engine().delivered([result.handle for result in results])

    def reject(self, result: JobResult) -> None:
        """The result is not to be believed: the next request for the same work runs it again, whatever its `reuse`."""
        self._engine().ledger.claims.reject(result.handle.token)

    def jobs(
        self,
        *,
        live: bool | None = None,
        state: JobState | None = None,
        asset_key: str | None = None,
        run_id: str | None = None,
        limit: int | None = 100,
    ) -> "list[JobRow]":
        """The jobs of this target in the ledger, newest first."""
        target, ledger = self.where.engine_target(), self._engine().ledger
        return ledger.jobs(
            live=live, target=target.name, state=state, asset_key=asset_key, run_id=run_id, limit=limit
        )

    def owe(self, reports: "Sequence[Report]") -> "list[Report]":
        """Note that these jobs are to be reported without a run; the reports that are new. See `build_hpc_job_sensor`."""
        return self._engine().ledger.reports.add(reports)

    def polled(self, within_s: float) -> "Runner":
        """The engine below, once it has asked the scheduler, if that is due, and not waited for it longer than this."""
        engine = self._engine()
        SYSTEM_CLOCK.within(within_s, engine.tick)
        return engine

    def profile(self, name: str | ExecutionProfile, overrides: Mapping[str, Any] | None = None) -> ExecutionProfile:
        """The execution profile of this name, with some of its fields replaced. '' means the default profile."""
        return (self._named(name) if isinstance(name, str) else name).with_overrides(overrides)

    def _named(self, name: str) -> ExecutionProfile:
        name = name or self.default_profile
        if name in self.profiles:
            return self.profiles[name]
        if name in self.profiles_elsewhere:
            why = self.profiles_elsewhere[name]
            raise ConfigurationError(f"the execution profile {name!r} is not for this target: {why}")
        if not name:
            raise ConfigurationError(
                "no execution profile is named, and the runner has no default_profile",
                advice=f"name one of {', '.join(self.profiles)}." if self.profiles else "give the runner profiles.",
            )
        raise ConfigurationError(f"there is no execution profile {name!r}: {did_you_mean(name, list(self.profiles))}")

    # -- the way into the engine

    @property
    def where(self) -> HPCTarget:
        """`target` as this runner uses it."""
        if self._where is None:
            self._where = with_env_values(self.target).below(self.folder)
        return self._where

    @property
    def folder(self) -> str:
        """`work_root` as an absolute path."""
        return os.path.abspath(os.path.expanduser(os.path.expandvars(env_value(self.work_root))))

    def _engine(self) -> "Runner":
        if self._runner is None:
            # SQLAlchemy comes with these: code locations that only define assets need not wait for it.
            from dagster_hpc.engine.ledger import Ledger
            from dagster_hpc.engine.runner import Runner

            self._runner = Runner(
                self.where.engine_target(self._patience),
                Ledger(self.ledger_url and env_value(self.ledger_url)),
                conceal=self.concealed,
            )
            for profile in self.profiles.values():
                self.conceal_from_now_on(profile.secret_values())
        return self._runner

    def _answer_of(self, interpreter: Interpreter) -> Answer:
        """What this Python says of itself where it is started here; it is asked once."""
        if interpreter not in self._interpreters:
            self._interpreters[interpreter] = self._engine().target.host.run(interpreter.question())
        return self._interpreters[interpreter]

    def concealed(self, printed: str) -> str:
        """What a job has printed, without the secrets of this runner."""
        return without_values(printed, self._secrets)

    def conceal_from_now_on(self, secrets: Iterable[str]) -> None:
        """Mask these values in all that jobs print into logs, results and metadata."""
        self._secrets.update(secrets)

    def _called(self, handles: Sequence[JobHandle]) -> str:
        """How several jobs together are called in a log; '' for one."""
        if len(handles) < 2:
            return ""
        scheduler = self._engine().target.scheduler
        ids = {scheduler.array_id(handle.job_id) if handle.job_id else "" for handle in handles}
        return f"array {ids.pop()}" if len(ids) == 1 and "" not in ids else f"{len(handles)} jobs"

    def _submitting(self, context: Context | None) -> Submitting:
        return Submitting(self, self._engine, self._calls, context, lambda handles: interruptible(self, handles, context))

    def _wait(
        self, handles: Sequence[JobHandle], context: Context | None, timeout: float | None, listener: Listener
    ) -> list[JobResult]:
        return self._engine().wait(handles, timeout_s=timeout, listener=listener, recipient=recipient_of(context))
