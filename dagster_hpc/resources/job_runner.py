"""RUN: the resource that assets, ops and plain scripts ask to run a job."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `target` as a type, to accept a resource
# that is configured at launch in its place.

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr

from dagster_hpc.engine.errors import ConfigurationError, HPCError, JobFailed, SubmitRefused, did_you_mean
from dagster_hpc.engine.job import Dependency, JobHandle, JobResult, JobSpec, JobState, Request, Reuse
from dagster_hpc.engine.script import render_script
from dagster_hpc.engine.target import Listener, Patience, script_stem
from dagster_hpc.metadata import TAG_JOB_ID, TAG_TARGET, job_metadata
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.resolve import read_inputs, resolve
from dagster_hpc.resources.targets.base import HPCTarget

if TYPE_CHECKING:
    from dagster_hpc.engine.ledger import JobRow
    from dagster_hpc.engine.runner import Runner

Context = dg.AssetExecutionContext | dg.OpExecutionContext


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
    _calls: dict[tuple[str, ...], int] = PrivateAttr(default_factory=dict)
    _patience: Patience = PrivateAttr(default_factory=Patience)

    def run(
        self,
        command: Command,
        *,
        profile: str | ExecutionProfile,
        context: Context | None = None,
        args: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        inputs: Mapping[str, InputFile] | None = None,
        outputs: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float | None = None,
        reuse: Reuse | None = None,
        dependencies: Sequence[Dependency] = (),
    ) -> JobResult:
        """Run a command as a job and return its result once it has ended well.

        A job that ended otherwise raises `JobFailed` (with its result); inside Dagster (`context` given) a `dg.Failure`
        that carries the same metadata. `timeout` (seconds) ends the wait with `WaitTimeout`, not the job.
        """
        with _as_dagster_failure(context):
            handle = self.submit(
                command, profile=profile, context=context, args=args, overrides=overrides, inputs=inputs,
                outputs=outputs, key=key, reuse=reuse, dependencies=dependencies,
            )  # fmt: skip
            return self.wait(handle, context=context, timeout=timeout)

    def submit(
        self,
        command: Command,
        *,
        profile: str | ExecutionProfile,
        context: Context | None = None,
        args: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        inputs: Mapping[str, InputFile] | None = None,
        outputs: Mapping[str, str] | None = None,
        key: str | None = None,
        reuse: Reuse | None = None,
        dependencies: Sequence[Dependency] = (),
    ) -> JobHandle:
        """Submit a job and return at once. The handle finds it again, in this process or another."""
        chosen = self._profile(profile, overrides)
        name = _job_name(command, context)
        spec = resolve(command, chosen, self.target, args=args, outputs=outputs, dependencies=dependencies, name=name)
        return self._submit(spec, _contents(command, inputs), context, key, reuse)[0]

    def wait(self, handle: JobHandle, *, context: Context | None = None, timeout: float | None = None) -> JobResult:
        """The result of a submitted job, once it has ended well; raises as `run` does."""
        with _as_dagster_failure(context), self._interruptible([handle], context):
            results = self._engine().wait([handle], timeout_s=timeout, listener=_listener(context))
            return results[0].raise_for_state()

    def map(
        self,
        command: Command,
        args_list: Sequence[Sequence[str]],
        *,
        profile: str | ExecutionProfile,
        context: Context | None = None,
        overrides: Mapping[str, Any] | None = None,
        inputs: Mapping[str, InputFile] | None = None,
        outputs: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float | None = None,
        reuse: Reuse | None = None,
        max_running: int | None = None,
    ) -> list[JobResult]:
        """Run a command once for each list of further arguments, all as one array job.

        Every element runs in a folder of its own; `inputs` lie one above (`../name`). The results come in the order of
        `args_list`, failed ones too: `raise_for_state()` on each tells. `max_running` limits how many run at once.
        On a system without array jobs each element is a job of its own, and all else is the same.
        """
        if not args_list:
            return []
        chosen = self._profile(profile, overrides)
        name = _job_name(command, context)
        limit = max_running or len(args_list)

        def described(**how: Any) -> JobSpec:
            return resolve(command, chosen, self.target, outputs=outputs, name=name, **how)

        with _as_dagster_failure(context):
            if "array" in self.target.scheduler.lacks:
                waits = [Dependency("afterany", "")]  # for the end of the one `limit` places before
                specs = [
                    described(args=args, dependencies=waits if index >= limit else ())
                    for index, args in enumerate(args_list)
                ]
                handles = self._submit_singly(specs, limit, _contents(command, inputs), context, key, reuse)
            else:
                spec = described(elements=args_list, element_limit=max_running)
                handles = self._submit(spec, _contents(command, inputs), context, key, reuse)
            with self._interruptible(handles, context):
                results = self._engine().wait(handles, timeout_s=timeout, listener=_listener(context, array=True))
        return [replace(result, index=index) for index, result in enumerate(results)]

    def render(
        self,
        command: Command,
        *,
        profile: str | ExecutionProfile,
        args: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
        outputs: Mapping[str, str] | None = None,
    ) -> str:
        """The very script that `run` would submit, with a token of zeros. Nothing is written or submitted."""
        spec = resolve(command, self._profile(profile, overrides), self.target, args=args, outputs=outputs)
        token = "0" * 8
        target = self.target.engine_target()
        directory = os.path.join(self._work_root, script_stem(spec.name), token)
        return render_script(spec, target.scheduler, directory=directory, token=token, template=target.template)

    def cancel(self, handle: JobHandle) -> None:
        """Cancel a job; nothing happens to one that is over."""
        self._engine().cancel([handle])

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
        engine = self._engine()
        return engine.ledger.jobs(
            live=live, target=engine.target.name, state=state, asset_key=asset_key, run_id=run_id, limit=limit
        )

    # -- the way into the engine

    @property
    def _work_root(self) -> str:
        return os.path.abspath(os.path.expanduser(os.path.expandvars(self.work_root)))

    def _engine(self) -> "Runner":
        if self._runner is None:
            # SQLAlchemy comes with these: code locations that only define assets need not wait for it.
            from dagster_hpc.engine.ledger import Ledger
            from dagster_hpc.engine.runner import Runner

            self._runner = Runner(self.target.engine_target(self._patience), Ledger(self.ledger_url))
        return self._runner

    def _profile(self, profile: str | ExecutionProfile, overrides: Mapping[str, Any] | None) -> ExecutionProfile:
        if isinstance(profile, str):
            if profile not in self.profiles:
                hint = did_you_mean(profile, list(self.profiles))
                raise ConfigurationError(f"there is no execution profile {profile!r}: {hint}")
            profile = self.profiles[profile]
        return profile.with_overrides(overrides)

    def _submit(
        self,
        spec: JobSpec,
        contents: Mapping[str, bytes],
        context: Context | None,
        key: str | None,
        reuse: Reuse | None,
        *,
        after: Sequence[Dependency] = (),
        below: str | None = None,
    ) -> list[JobHandle]:
        """`after`: what is no part of the job's identity. `below`: a folder that holds the inputs already."""
        engine = self._engine()
        request = Request(
            spec=replace(spec, dependencies=(*spec.dependencies, *after)),
            work_root=below or self._work_root,
            inputs={} if below else contents,
            identity=self._identity(spec, contents, engine.target.name, context, key),
            reuse=reuse or self.reuse,
            asset_key=_asset_key(context),
            partition_key=_partition_key(context),
            run_id=context.run.run_id if context else None,
        )
        listener = _listener(context)
        with self._interruptible([], context):
            handles = engine.submit(request, listener)
        if context:
            _tag_run(context, engine)
            first, many = handles[0], f" with {len(handles)} elements" if len(handles) > 1 else ""
            verb = "joined the live job" if first.joined else "submitted job"
            context.log.info(f"{verb} {first.job_id} on {first.target}{many}; its directory is {first.work_dir}")
        return handles

    def _submit_singly(
        self,
        specs: Sequence[JobSpec],
        limit: int,
        contents: Mapping[str, bytes],
        context: Context | None,
        key: str | None,
        reuse: Reuse | None,
    ) -> list[JobHandle]:
        """What stands for an array where there is none: all of these jobs or none, side by side, inputs above them."""
        from dagster_hpc.engine.submit import place

        engine = self._engine()
        stem, below = script_stem(specs[0].name), None
        if contents:
            below = os.path.join(self._work_root, f"{stem}-{engine.ledger.new_token()}")
            place(os.path.join(below, stem), contents, engine.target)
        handles: list[JobHandle] = []
        with self._interruptible(handles, context):
            try:
                for index, spec in enumerate(specs):
                    first = [Dependency("afterany", handles[index - limit].job_id or "")] if index >= limit else []
                    alone = replace(spec, dependencies=())
                    name = key and f"{key}.{index}"
                    handles += self._submit(alone, contents, context, name, reuse, after=first, below=below)
            except HPCError:
                with suppress(HPCError):
                    engine.cancel([handle for handle in handles if not handle.joined])
                raise
        return handles

    def _identity(
        self, spec: JobSpec, inputs: Mapping[str, bytes], target: str, context: Context | None, key: str | None
    ) -> str | None:
        """Equal for two requests that mean the same job: the same call in the same asset's step, or the same key."""
        from hashlib import sha256

        hashes = {name: sha256(content).hexdigest() for name, content in inputs.items()}
        who: tuple[str, ...]
        if key is not None:
            who = ("key", key)
        elif context is not None:
            op = context.op_execution_context if isinstance(context, dg.AssetExecutionContext) else context
            step = (context.run.run_id, str(op.op_handle), str(context.retry_number))
            ordinal = self._calls[step] = self._calls.get(step, -1) + 1
            who = (
                "asset",
                _asset_key(context) or str(op.op_handle),
                _partition_key(context) or "",
                str(ordinal),
            )
        else:
            return None
        return sha256("\0".join([*who, spec.fingerprint(target, hashes)]).encode()).hexdigest()[:40]

    @contextmanager
    def _interruptible(self, handles: Sequence[JobHandle], context: Context | None) -> Iterator[None]:
        """A user who terminates the run means the job too; a restart or a crash does not."""
        try:
            yield
        except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
            if self.on_interrupt == "cancel" and _user_terminated(context):
                self._engine().cancel(handles or self._submitting(context))
                if context:
                    context.log.info("the run was terminated, so its job was cancelled")
            elif context:
                context.log.warning("interrupted; the job goes on, and the next attempt joins it")
            raise

    def _submitting(self, context: Context | None) -> list[JobHandle]:
        """The jobs of this run whose submission was broken off: their ids are not known yet."""
        if context is None:
            return []
        rows = self._engine().ledger.jobs(live=True, run_id=context.run.run_id, asset_key=_asset_key(context))
        return [row.handle() for row in rows if row.state is JobState.SUBMITTING]


def _user_terminated(context: Context | None) -> bool:
    """Without Dagster, Ctrl-C is the user. With it, only a run that is being cancelled is."""
    if context is None:
        return True
    run = context.instance.get_run_by_id(context.run.run_id)
    return run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


@contextmanager
def _as_dagster_failure(context: Context | None) -> Iterator[None]:
    """Inside a step, a failed job is a `dg.Failure` with the job's metadata; a refused one is not worth a retry."""
    try:
        yield
    except JobFailed as error:
        if context is None:
            raise
        raise dg.Failure(description=str(error), metadata=job_metadata(error.result)) from error
    except (SubmitRefused, ConfigurationError) as error:
        if context is None:
            raise
        metadata = {"work_dir": dg.MetadataValue.path(error.work_dir)} if error.work_dir else {}
        raise dg.Failure(description=str(error), metadata=metadata, allow_retries=False) from error


def _listener(context: Context | None, *, array: bool = False) -> Listener:
    """State changes into the event log, the job's output line by line into the step's compute logs."""
    if context is None:
        return Listener()

    def on_state(handle: JobHandle, state: JobState, reason: str) -> None:
        if array and (state.is_success or not state.is_final):
            return  # thousands of elements would bury what matters: those that failed
        context.log.info(f"job {handle.job_id or handle.token}: {state}{f', {reason}' if reason else ''}")

    def on_output(handle: JobHandle, stream: str, line: str) -> None:
        index = f"[{handle.token.partition('.')[2] or handle.job_id}] " if array else ""
        print(f"{index}{line}", file=sys.stderr if stream == "stderr" else sys.stdout, flush=True)

    return Listener(on_state, on_output, context.log.warning)


def _contents(command: Command, inputs: Mapping[str, InputFile] | None) -> dict[str, bytes]:
    return read_inputs({**command.inputs, **(inputs or {})})


def _job_name(command: Command, context: Context | None) -> str:
    """What the queue shows: the command's own name if it has one, else the asset's."""
    return command.name or (_asset_key(context) or "").rpartition("/")[2] or command.job_name


def _asset_key(context: Context | None) -> str | None:
    if context is None or not context.has_assets_def:
        return None
    keys = sorted(key.to_user_string() for key in context.selected_asset_keys)
    return ",".join(keys) or None


def _partition_key(context: Context | None) -> str | None:
    return context.partition_key if context is not None and context.has_partition_key else None


def _tag_run(context: Context, engine: "Runner") -> None:
    """The ids of all jobs of this run, read from the ledger: steps of one run do not overwrite each other's."""
    rows = engine.ledger.jobs(run_id=context.run.run_id)
    ids = sorted(
        {
            engine.target.scheduler.array_id(row.job_id)
            for row in rows
            if row.job_id and row.target == engine.target.name
        }
    )
    tags = {TAG_JOB_ID: ",".join(ids), TAG_TARGET: engine.target.name}
    context.instance.add_run_tags(context.run.run_id, tags)
