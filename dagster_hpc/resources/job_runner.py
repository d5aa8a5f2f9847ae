"""RUN: the resource that assets, ops and plain scripts ask to run a job."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `target` as a type, to accept a resource
# that is configured at launch in its place.

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from pydantic import ConfigDict, Field, PrivateAttr

from dagster_hpc.engine.errors import ConfigurationError, HPCError, did_you_mean
from dagster_hpc.engine.job import Dependency, JobHandle, JobResult, JobSpec, JobState, Request, Reuse
from dagster_hpc.engine.script import render_script
from dagster_hpc.engine.target import Patience, script_stem
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.profile import ExecutionProfile
from dagster_hpc.resources.resolve import read_inputs, resolve
from dagster_hpc.resources.step import (
    Context,
    as_dagster_failure,
    asset_key_of,
    job_name,
    listener_of,
    partition_key_of,
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
        with as_dagster_failure(context):
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
        name = job_name(command, context)
        spec = resolve(command, chosen, self.target, args=args, outputs=outputs, dependencies=dependencies, name=name)
        return self._submit(spec, _contents(command, inputs), context, key, reuse)[0]

    def wait(self, handle: JobHandle, *, context: Context | None = None, timeout: float | None = None) -> JobResult:
        """The result of a submitted job, once it has ended well; raises as `run` does."""
        with as_dagster_failure(context), self._interruptible([handle], context):
            results = self._engine().wait([handle], timeout_s=timeout, listener=listener_of(context))
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
        name = job_name(command, context)
        limit = max_running or len(args_list)

        def described(**how: Any) -> JobSpec:
            return resolve(command, chosen, self.target, outputs=outputs, name=name, **how)

        with as_dagster_failure(context):
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
                results = self._engine().wait(handles, timeout_s=timeout, listener=listener_of(context, array=True))
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
            asset_key=asset_key_of(context),
            partition_key=partition_key_of(context),
            run_id=context.run.run_id if context else None,
        )
        listener = listener_of(context)
        with self._interruptible([], context):
            handles = engine.submit(request, listener)
        if context:
            tag_run(context, engine)
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
                asset_key_of(context) or str(op.op_handle),
                partition_key_of(context) or "",
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
            if self.on_interrupt == "cancel" and user_terminated(context):
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
        rows = self._engine().ledger.jobs(live=True, run_id=context.run.run_id, asset_key=asset_key_of(context))
        return [row.handle() for row in rows if row.state is JobState.SUBMITTING]


def _contents(command: Command, inputs: Mapping[str, InputFile] | None) -> dict[str, bytes]:
    return read_inputs({**command.inputs, **(inputs or {})})
