"""`PipesHPCClient`: programs that report through Dagster Pipes, run as batch jobs."""

# No `from __future__ import annotations` here: Dagster reads the annotation of `runner` as a type.

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field
from typing_extensions import Unpack

from dagster_hpc.dagster_values import failure
from dagster_hpc.engine.errors import SchedulerUnavailable
from dagster_hpc.engine.job import JobHandle, JobResult, failure_of
from dagster_hpc.metadata import array_metadata, job_metadata
from dagster_hpc.pipes.environment import pipes_files, with_pipes
from dagster_hpc.pipes.messages import JobMessages
from dagster_hpc.pipes.reports import PipesReportFaulty
from dagster_hpc.pipes.session import StepSession, step_session
from dagster_hpc.pipes.streaming import Voice, streaming
from dagster_hpc.resources.command import Command
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.resources.request import RequestOptions
from dagster_hpc.resources.step import Context, as_dagster_failure, op_of

_LOOK_AGAIN_S = 0.2
_LONGEST_TRACEBACK = 4000
_NAMED = 20  # of the elements that failed
_ADVICE = (
    "let the program use `with open_dagster_pipes() as pipes:`, or report by `dagster-hpc tell`; see docs/pipes.md. "
    "The next attempt runs the job anew."
)

Submit = Callable[[Sequence[Command], RequestOptions], Sequence[JobHandle]]


class PipesHPCClient(dg.ConfigurableResource, dg.PipesClient):  # type: ignore[type-arg]
    """Runs programs that report through Dagster Pipes as batch jobs, on any target.

    Log messages reach the run while the job runs. Materializations, checks and custom messages count once, when the
    job has ended well. A retried step, or another run, joins the job that is there and reads all of its messages. A job
    that ends well without having reported, or without having closed Pipes, fails the step.

    Example:
        @dg.asset
        def energy(context: dg.AssetExecutionContext, pipes: PipesHPCClient) -> dg.MaterializeResult:
            command = Command("python", args=["/apps/energy.py"])
            return pipes.run(context=context, command=command, profile="small").get_materialize_result()

        hpc = HPCJobRunner(target=SlurmTarget(), profiles={"small": ExecutionProfile()}, work_root="/scratch/me")
        defs = dg.Definitions([energy], resources={"pipes": PipesHPCClient(runner=hpc)})
    """

    runner: HPCJobRunner = Field(description="The runner whose target the jobs run on.")

    def run(  # type: ignore[override]
        self,
        *,
        context: Context,
        command: Command,
        extras: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> dg.PipesClientCompletedInvocation:
        """Run a command as a job, and return what its program has reported once it has ended well.

        `extras` are what the program finds in `PipesContext.extras`, and in `.pipes/extras.json`. A step of several
        partitions runs one job for all of them; their keys are in the extra `partition_keys`. See `JobRequest` for the
        other options, and `HPCJobRunner.run` for how it ends otherwise.
        """

        def submit(commands: Sequence[Command], options: RequestOptions) -> Sequence[JobHandle]:
            return [self.runner.submit(commands[0], context=context, **options)]

        return self._run(context, [command], [None], extras, timeout, options, submit)[0]

    def run_all(
        self,
        *,
        context: Context,
        commands: Sequence[Command],
        extras: Mapping[str, Any] | None = None,
        partition_keys: Sequence[str] | None = None,
        max_running: int | None = None,
        timeout: float | None = None,
        **options: Unpack[RequestOptions],
    ) -> list[dg.PipesClientCompletedInvocation]:
        """Run commands as one array job; each element has its own context and messages. In the order of `commands`.

        `partition_keys`: of the asset, one for each command, which its program finds in its context. If an element
        fails, the step fails when all have ended, and the next attempt runs only those that failed.
        """

        def submit(commands: Sequence[Command], options: RequestOptions) -> Sequence[JobHandle]:
            return self.runner.submit_all(
                commands, context=context, partition_keys=partition_keys, max_running=max_running, **options
            )

        keys: Sequence[str | None] = [None] * len(commands) if partition_keys is None else partition_keys
        return self._run(context, commands, keys, extras, timeout, options, submit) if commands else []

    def _run(
        self,
        context: Context,
        commands: Sequence[Command],
        keys: Sequence[str | None],
        extras: Mapping[str, Any] | None,
        timeout: float | None,
        options: RequestOptions,
        submit: Submit,
    ) -> list[dg.PipesClientCompletedInvocation]:
        step = op_of(context)
        with as_dagster_failure(context), step_session(step, extras or {}) as session:
            prepared = [
                replace(command, inputs={**command.inputs, **pipes_files(session.context_data(key))})
                for command, key in zip(commands, keys, strict=True)
            ]
            profile = with_pipes(self.runner.profile(options.get("profile", ""), options.get("overrides")))
            handles = submit(prepared, {**options, "profile": profile, "overrides": None})
            first = handles[0]
            session.session.report_launched(
                {"extras": {"job_id": first.job_id, "target": first.target, "token": first.token}}
            )
            voices = [
                Voice(self._messages(handle.work_dir), step.log, f"[{index}] " if len(handles) > 1 else "")
                for index, handle in enumerate(handles)
            ]
            with streaming(voices):
                results = self.runner.wait_all(handles, context=context, timeout=timeout)
            return self._results(session, voices, results)

    def _messages(self, work_dir: str) -> JobMessages:
        return JobMessages(self.runner._engine().target.host, work_dir, self.runner.concealed)

    def _results(
        self, session: StepSession, voices: Sequence[Voice], results: Sequence[JobResult]
    ) -> list[dg.PipesClientCompletedInvocation]:
        """What these jobs have reported, which are over; the failure of all together if any failed."""
        until = time.monotonic() + self.runner._engine().target.patience.file_delay_s
        done: list[dg.PipesClientCompletedInvocation] = []
        failures: dict[int, dg.Failure] = {}
        voices = [
            # One that was run again has told the rest in another directory.
            voice if voice.messages.directory == work_dir else replace(voice, messages=self._messages(work_dir))
            for voice, work_dir in zip(voices, [result.handle.work_dir for result in results], strict=True)
        ]
        for index, (voice, result) in enumerate(zip(voices, results, strict=True)):
            voice.listen()
            while result.succeeded and (voice.messages.lacking() or voice.messages.silent) and time.monotonic() < until:
                time.sleep(_LOOK_AGAIN_S)
                voice.listen()
            try:
                if not result.succeeded:
                    failures[index] = _failed(result, voice.messages)
                elif voice.messages.silent:
                    failures[index] = _unread(result, voice.messages)
                else:
                    done.append(session.results(voice.messages, job_metadata(result)))
            except PipesReportFaulty as error:
                self.runner.reject(result)  # it would be taken again, with what it lacks
                words = f"{result.handle} ended well, but {error.message}"
                faulty = PipesReportFaulty(words, advice=_ADVICE, work_dir=result.handle.work_dir)
                failures[index] = failure(faulty, job_metadata(result))
        if any(voice.messages.count for voice in voices):
            session.heard(all_of_it=not any(voice.messages.lacking() for voice in voices))
        if failures:
            raise _together(failures, results)
        return done


def _failed(result: JobResult, messages: JobMessages) -> dg.Failure:
    """A job that ended badly, with what its program said of it."""
    error = failure(failure_of(result), job_metadata(result))
    raised = messages.exception()[-_LONGEST_TRACEBACK:]
    if not raised:
        return error
    words = f"{error.description}\nIts program left Dagster Pipes by an exception:\n{raised}"
    return dg.Failure(words, metadata=error.metadata, allow_retries=error.allow_retries)


def _unread(result: JobResult, messages: JobMessages) -> dg.Failure:
    """What a job reported cannot be seen now, which is no reason to run it again."""
    error = SchedulerUnavailable(
        f"what {result.handle} reported cannot be read now: {messages.silent}",
        advice="the job has ended well and is not lost: run the same again when the file system answers.",
        work_dir=result.handle.work_dir,
    )
    return failure(error, job_metadata(result))


def _together(failures: Mapping[int, dg.Failure], results: Sequence[JobResult]) -> dg.Failure:
    """The failure of the step: that of its job, or of an array with the first of the elements that failed."""
    first = next(iter(failures.values()))
    if len(results) == 1:
        return first
    indices = ", ".join(str(index) for index in list(failures)[:_NAMED]) + (" …" if len(failures) > _NAMED else "")
    words = f"{len(failures)} of {len(results)} elements failed: {indices}. The first: {first.description}"
    return dg.Failure(words, metadata=array_metadata(list(results)))
