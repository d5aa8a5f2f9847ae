"""Dagster's step-delegating executor, for which batch jobs execute the steps."""

from __future__ import annotations

from collections.abc import Iterator

from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.context.system import IStepContext, PlanOrchestrationContext
from dagster._core.execution.plan.objects import ErrorSource
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandler, StepHandlerContext
from dagster._core.executor.step_delegating.step_delegating_executor import StepDelegatingExecutor
from dagster._core.instance import DagsterInstance

from dagster_hpc.dagster_values import text
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobResult
from dagster_hpc.executor.step_job import StepJobs, identity_of
from dagster_hpc.executor.watch import JobWatch, Tell
from dagster_hpc.metadata import TAG_JOB_ID, TAG_TARGET, job_metadata
from dagster_hpc.resources.deployment import deployment_of

_ADVICE = "nothing was submitted: correct the profile, the config of the executor, or the tags of these steps."


class StepJobExecutor(StepDelegatingExecutor):
    """All steps are checked before the first is submitted; at the end the run's log says what each job has cost."""

    _step_handler: StepJobHandler

    def execute(self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan) -> Iterator[DagsterEvent]:
        self._step_handler.check(execution_plan, plan_context)
        for event in super().execute(plan_context, execution_plan):
            if (event.is_step_success or event.is_step_failure or event.is_step_up_for_retry) and event.step_key:
                self._step_handler.watch.has_reported(event.step_key)
            yield event
        self._step_handler.watch.finish()

    def _pop_events(self, instance: DagsterInstance, run_id: str, seen_storage_ids: set[int]) -> list[DagsterEvent]:
        """The new events, without those failures by which a step says that its job was told to end.

        Why it was (a walltime, a node that goes down), and whether another attempt is worth while, the end of the job says.
        """
        events = super()._pop_events(instance, run_id, seen_storage_ids)
        return [event for event in events if not _is_interrupted(event)]


class StepJobHandler(StepHandler):
    """Submits a job for a step, and tells Dagster of jobs whose steps cannot do that themselves any more."""

    def __init__(self, jobs: StepJobs) -> None:
        self._jobs = jobs
        self.watch = JobWatch(jobs.hpc)

    @property
    def name(self) -> str:
        return "HPCStepHandler"

    def check(self, plan: ExecutionPlan, context: PlanOrchestrationContext) -> None:
        """`ConfigurationError` with every fault of the steps of this run."""
        steps = [(step.key, step.tags or {}) for step in plan.steps]
        faults = self._jobs.faults(steps, context.instance.get_ref())
        if faults:
            raise ConfigurationError(faults, advice=_ADVICE)

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        args, step = step_handler_context.execute_step_args, _step_of(step_handler_context)
        deployment = deployment_of(step_handler_context.instance)
        row = self.watch.submit(
            step.step.key,
            identity_of(args),
            _telling(step),
            lambda: self._jobs.request(args, step.step.tags or {}, deployment),
        )
        if row is None or row.is_over:
            return  # the next look at its health says why
        waits = "" if row.job_id else ", which waits in the ledger for room"
        message = f"Step {step.step.key} is job {row.job_id or row.token} on {row.target}{waits}."
        metadata = {TAG_JOB_ID: text(row.job_id), TAG_TARGET: text(row.target), "work_dir": text(row.work_dir)}
        yield DagsterEvent.step_worker_starting(step, message, metadata)

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        step, identity = _step_of(step_handler_context), identity_of(step_handler_context.execute_step_args)
        if not self.watch.knows(identity):  # an earlier process of this run has begun it
            if self.watch.join(step.step.key, identity, _telling(step)):
                return CheckStepHealthResult.healthy()
            return CheckStepHealthResult.unhealthy("no job was submitted for it")
        trouble = self.watch.trouble(identity)
        return CheckStepHealthResult.unhealthy(trouble) if trouble else CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        """Dagster ends the steps of a run all together, one after the other: the first time all jobs are cancelled."""
        if said := self.watch.cancel():
            yield DagsterEvent.engine_event(_step_of(step_handler_context), f"The run is ended: {said}.", EngineEventData())


def _is_interrupted(event: DagsterEvent) -> bool:
    return event.is_step_failure and event.step_failure_data.error_source is ErrorSource.INTERRUPT


def _step_of(context: StepHandlerContext) -> IStepContext:
    (key,) = context.execute_step_args.step_keys_to_execute or ()
    return context.get_step_context(key)


def _telling(step: IStepContext) -> Tell:
    """Into the event log of the run, under this step."""

    def tell(words: str, result: JobResult | None) -> None:
        DagsterEvent.engine_event(step, words, EngineEventData(metadata=job_metadata(result) if result else {}))

    return tell
