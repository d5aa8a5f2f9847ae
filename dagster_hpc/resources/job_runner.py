"""RUN: the resource that assets, ops and plain scripts ask to run a job."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `target` as a type, to accept a resource
# that is configured at launch in its place.

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr
from typing_extensions import Unpack

from dagster_hpc.engine.errors import ConfigurationError, HPCError, SchedulerUnavailable, did_you_mean
from dagster_hpc.engine.job import Dependency, JobHandle, JobResult, JobSpec, JobState, Request
from dagster_hpc.engine.script import render_script
from dagster_hpc.engine.target import Listener, Patience, script_stem
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.env_vars import env_value, with_env_values
from dagster_hpc.resources.identity import CallCounter, identity_of
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.request import JobRequest, RequestOptions
from dagster_hpc.resources.resolve import read_inputs, resolve
from dagster_hpc.resources.step import (
    Context,
    as_dagster_failure,
    asset_key_of,
    job_name,
    listener_of,
    partition_key_of,
    received_by,
    step_of,
    tag_run,
    user_terminated,
)
from dagster_hpc.resources.targets.base import HPCTarget

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow
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
    work_root: str = Field(
        description="Folder for the jobs' directories, visible on the compute nodes. ~ and $VAR work."
    )
    reuse: Literal["running", "succeeded", "never"] = Field(
        default="running",
        description="running: join an equal live job; succeeded: also take the results of a finished one; never.",
    )
    on_interrupt: Literal["cancel", "detach"] = Field(
        default="cancel",
        description="What becomes of the job when a user terminates the run: cancel it, or let it go on.",
    )
    ledger_url: str | None = Field(
        default=None, description="Database of the jobs; default: DAGSTER_HPC_LEDGER, or a local file."
    )

    _runner: "Runner | None" = PrivateAttr(None)
    _calls: CallCounter = PrivateAttr(default_factory=CallCounter)
    _patience: Patience | None = PrivateAttr(None)

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
        request = JobRequest(**options)
        return self._submit(self._spec(command, request, context), command, request, context)[0]

    def wait(self, handle: JobHandle, *, context: Context | None = None, timeout: float | None = None) -> JobResult:
        """The result of a submitted job, once it has ended well; raises as `run` does."""
        with as_dagster_failure(context), self._interruptible([handle], context):
            return self._wait([handle], context, timeout, listener_of(context))[0].raise_for_state()

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
        if not args_list:
            return []
        request = JobRequest(**options)
        with as_dagster_failure(context):
            if "array" in self.target.scheduler.lacks:
                handles = self._submit_singly(command, args_list, max_running, request, context)
            else:
                spec = self._spec(command, request, context, elements=args_list, element_limit=max_running)
                handles = self._submit(spec, command, request, context)
            with self._interruptible(handles, context):
                results = self._wait(handles, context, timeout, listener_of(context, array=True))
        return [replace(result, index=index) for index, result in enumerate(results)]

    def render(self, command: Command, **options: Unpack[RequestOptions]) -> str:
        """The very script that `run` would submit, with a token of zeros. Nothing is written or submitted."""
        spec = self._spec(command, JobRequest(**options), None)
        token = "0" * 8
        target = with_env_values(self.target).engine_target()
        directory = os.path.join(self.folder, script_stem(spec.name), token)
        return render_script(spec, target.scheduler, directory=directory, token=token, template=target.template)

    def cancel(self, handle: JobHandle) -> None:
        """Cancel a job; nothing happens to one that is over."""
        self._engine().cancel([handle])

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
        target, ledger = with_env_values(self.target).engine_target(), self._engine().ledger
        return ledger.jobs(
            live=live, target=target.name, state=state, asset_key=asset_key, run_id=run_id, limit=limit
        )

    def profile(self, name: str | ExecutionProfile, overrides: Mapping[str, Any] | None = None) -> ExecutionProfile:
        """The execution profile of this name, with some of its fields replaced."""
        if isinstance(name, str):
            if name not in self.profiles:
                hint = did_you_mean(name, list(self.profiles))
                raise ConfigurationError(f"there is no execution profile {name!r}: {hint}")
            return self.profiles[name].with_overrides(overrides)
        return name.with_overrides(overrides)

    # -- the way into the engine

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
                with_env_values(self.target).engine_target(self._patience),
                Ledger(self.ledger_url and env_value(self.ledger_url)),
            )
        return self._runner

    def _spec(self, command: Command, request: JobRequest, context: Context | None, **how: Any) -> JobSpec:
        return resolve(
            command,
            self.profile(request.profile, request.overrides),
            self.target,
            args=request.args,
            outputs=request.outputs,
            dependencies=request.dependencies,
            name=job_name(command, context),
            folder=self.folder,
            **how,
        )

    def _submit(
        self, spec: JobSpec, command: Command, request: JobRequest, context: Context | None
    ) -> list[JobHandle]:
        contents = _contents(command, request.inputs)
        with self._interruptible([], context):
            (handles,) = self._send([self._asked(spec, contents, request, context)], context)
        return handles

    def _asked(
        self,
        spec: JobSpec,
        contents: Mapping[str, bytes],
        request: JobRequest,
        context: Context | None,
        *,
        after: Sequence[Dependency] = (),
        below: str | None = None,
    ) -> Request:
        """`after`: what is no part of the job's identity. `below`: a folder that holds the inputs already."""
        identity = identity_of(
            spec,
            contents,
            self._engine().identify(listener_of(context)).key,
            key=request.key,
            context=context,
            calls=self._calls,
            template=_text_of(self.target.template),
        )
        return Request(
            spec=replace(spec, dependencies=(*spec.dependencies, *after)),
            work_root=below or self.folder,
            inputs={} if below else contents,
            identity=identity,
            reuse=request.reuse or self.reuse,
            asset_key=asset_key_of(context),
            partition_key=partition_key_of(context),
            run_id=context.run.run_id if context else None,
            step_key=step_of(context).step_key if context else None,
            received=received_by(context),
        )

    def _send(self, requests: Sequence[Request], context: Context | None) -> list[list[JobHandle]]:
        engine = self._engine()
        handles = engine.submit_all(requests, listener_of(context))
        if context:
            tag_run(context, engine)
            for each in handles:
                context.log.info(_sentence(each))
        return handles

    def _submit_singly(
        self,
        command: Command,
        args_list: Sequence[Sequence[str]],
        max_running: int | None,
        request: JobRequest,
        context: Context | None,
    ) -> list[JobHandle]:
        """What stands for an array where there is none: all of these jobs or none, side by side, inputs above them."""
        from dagster_hpc.engine.submit.claim import place

        engine, contents = self._engine(), _contents(command, request.inputs)
        limit = max_running or len(args_list)
        waits = [Dependency("afterany", "")]  # for the end of the one `limit` places before
        specs = []
        for index, args in enumerate(args_list):
            dependencies = (*request.dependencies, *(waits if index >= limit else ()))
            one = replace(request, args=(*request.args, *args), dependencies=dependencies)
            specs.append(self._spec(command, one, context))
        stem, below = script_stem(specs[0].name), None
        if contents:
            below = os.path.join(self.folder, f"{stem}-{engine.ledger.claims.new_token()}")
            place(os.path.join(below, stem), contents, engine.target)
        handles: list[JobHandle] = []
        with self._interruptible(handles, context):
            try:
                for start in range(0, len(specs), limit):
                    requests = []
                    for index in range(start, min(start + limit, len(specs))):
                        after = [Dependency("afterany", self._id_of(handles[index - limit]))] if index >= limit else []
                        alone = replace(specs[index], dependencies=tuple(request.dependencies))
                        named = replace(request, key=request.key and f"{request.key}.{index}")
                        requests.append(self._asked(alone, contents, named, context, after=after, below=below))
                    handles += [handle for (handle,) in self._send(requests, context)]
            except HPCError:
                with suppress(HPCError):
                    engine.cancel([handle for handle in handles if not handle.joined])
                raise
        return handles

    def _id_of(self, handle: JobHandle) -> str:
        """The scheduler's id of a job that another one depends on; a job that waits for room is waited for."""
        return handle.job_id or self._engine().wait_for_id(handle)

    def _wait(
        self, handles: Sequence[JobHandle], context: Context | None, timeout: float | None, listener: Listener
    ) -> list[JobResult]:
        from dagster_hpc.engine.ledger import Recipient

        recipient = None
        if context:
            step = step_of(context)
            recipient = Recipient(step.run_id, step.step_key)
        return self._engine().wait(handles, timeout_s=timeout, listener=listener, recipient=recipient)

    @contextmanager
    def _interruptible(self, handles: Sequence[JobHandle], context: Context | None) -> Iterator[None]:
        """A user who terminates the run means its jobs too; a restart or a crash does not.

        Only what this run has submitted is cancelled: a job that it joined goes on for those who wait for it.
        """
        try:
            yield
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            if self.on_interrupt == "cancel" and user_terminated(context):
                mine = self._submitted_here(handles, context)
                try:
                    if mine:
                        self._engine().cancel(mine)
                except SchedulerUnavailable as error:
                    if context:
                        context.log.warning(str(error))
                if context:
                    said = "its job was cancelled" if mine else "it had only joined its job, which goes on"
                    context.log.info(f"the run was terminated: {said}")
            elif context:
                context.log.warning("interrupted; the job goes on, and the next attempt takes it over")
            raise

    def _submitted_here(self, handles: Sequence[JobHandle], context: Context | None) -> list[JobHandle]:
        """Those of these jobs that this run (or this script) has asked for first, and submissions broken off now."""
        if context is None:
            return [handle for handle in handles if not handle.joined]
        step, ledger = step_of(context), self._engine().ledger
        mine = {row.token: row for row in ledger.jobs(live=True, run_id=step.run_id) if row.step_key == step.step_key}
        if handles:
            return [handle for handle in handles if handle.token in mine]
        return [row.handle() for row in mine.values() if not row.state.is_submitted]


def _contents(command: Command, inputs: Mapping[str, InputFile] | None) -> dict[str, bytes]:
    return read_inputs({**command.inputs, **(inputs or {})})


def _text_of(template: str | None) -> str:
    """The site's own template is part of what would run; the packaged ones change with the version only."""
    path = Path(os.path.expanduser(template)) if template else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else ""


def _sentence(handles: Sequence[JobHandle]) -> str:
    """What has become of a request, for the log of its run."""
    first = handles[0]
    many = f" with {len(handles)} elements" if len(handles) > 1 else ""
    if first.job_id is None:
        return f"job {first.token} on {first.target}{many} waits in the ledger for room; its directory is {first.work_dir}"
    verb = "took over job" if first.joined else "submitted job"
    return f"{verb} {first.job_id} on {first.target}{many}; its directory is {first.work_dir}"
