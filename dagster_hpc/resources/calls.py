"""From a function to a command of a runner: a call is a job like any other, whose program is Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.python_calls import worker
from dagster_hpc.python_calls.interpreter import Interpreter
from dagster_hpc.python_calls.outcome import OUTPUT, VALUE_PATH
from dagster_hpc.python_calls.pack import Packed, StepContext, name_of, packed
from dagster_hpc.resources.call_future import CallFuture, taken_over
from dagster_hpc.resources.command import Circumstances, Command
from dagster_hpc.resources.env_vars import with_env_values
from dagster_hpc.resources.request import JobRequest
from dagster_hpc.resources.step import Context, as_dagster_failure, step_of
from dagster_hpc.resources.submission import Element

if TYPE_CHECKING:
    from dagster_hpc.resources.job_runner import HPCJobRunner
    from dagster_hpc.resources.profile import ExecutionProfile

_BY_CONTENT = "python call"  # the key of all calls that are known by what they are, and by nothing else


def submit_call(
    hpc: HPCJobRunner,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    request: JobRequest,
    context: Context | None,
) -> CallFuture:
    """Submit one call. It starts once those calls have ended well whose futures are among its arguments."""
    futures: list[CallFuture] = []

    def stand(value: Any) -> Any:
        if not isinstance(value, CallFuture):
            return None
        futures.append(value)
        return taken_over(value)

    with as_dagster_failure(context):
        command = call_command(hpc, function, args, kwargs, request, stand=stand)
        before = tuple(future for future in dict.fromkeys(futures) if not future.is_over())
        _refuse_other_targets(hpc, before)
        after = [future.handle for future in before]
        handle = hpc._submitting(context).one(command, _with_value(hpc, request, context), after=after)
    return CallFuture(hpc, handle, name_of(function), context, before)


def map_calls(
    hpc: HPCJobRunner,
    function: Callable[..., Any],
    arguments: Sequence[Sequence[Any]],
    kwargs: Mapping[str, Any] | None,
    request: JobRequest,
    context: Context | None,
    max_running: int | None,
) -> list[CallFuture]:
    """Submit these calls as one array job."""

    def stand(value: Any) -> Any:
        if isinstance(value, CallFuture):
            raise ConfigurationError(
                f"an argument of map_calls({name_of(function)}, …) is {value}, and an element of an array waits for no job",
                advice="hand over its result(), or use submit_call for each.",
            )

    with as_dagster_failure(context):
        commands = [call_command(hpc, function, each, kwargs, request, stand=stand) for each in arguments]
        elements = [Element(command) for command in commands]
        handles = hpc._submitting(context).array(elements, _with_value(hpc, request, context), max_running)
    return [CallFuture(hpc, handle, name_of(function), context) for handle in handles]


def call_command(
    hpc: HPCJobRunner,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    request: JobRequest,
    *,
    step: StepContext | None = None,
    by_value: bool = False,
    stand: Callable[[Any], Any] = lambda value: None,
) -> Command:
    """What the job of a call runs. The runner's target says which Python, the profile what is around it."""
    profile = with_env_values(hpc.profile(request.profile, request.overrides))
    ranks = profile.num_nodes * profile.mpiprocs
    call = packed(function, args, kwargs, ranks=ranks, context=step, by_value=by_value, stand=stand)
    words = hpc.where.interpreter(profile)
    _refuse_mismatch(hpc, call, words, profile)
    return Command(
        words[0],
        args=[*words[1:], f"{worker.FOLDER}/{worker.WORKER}"],
        name=call.name,
        inputs={
            f"{worker.FOLDER}/{worker.WORKER}": Path(worker.__file__).read_bytes(),
            f"{worker.FOLDER}/{worker.CALL}": Circumstances.of_work(call.content, call.digest),
        },
    )


def _refuse_other_targets(hpc: HPCJobRunner, futures: Sequence[CallFuture]) -> None:
    """No scheduler waits for a job of another one."""
    here = hpc._engine().identify().key if futures else ""
    faults = [f"{each} runs on {each.handle.target}, for which no job on {here} can wait" for each in futures
              if each.handle.target != here]  # fmt: skip
    if faults:
        raise ConfigurationError(faults, advice="hand over its result(), or call both on one target.")


def _with_value(hpc: HPCJobRunner, request: JobRequest, context: Context | None) -> JobRequest:
    """The request with the file of the value among its outputs. Outside Dagster, what is cached is known by its content."""
    cached = (request.reuse or hpc.reuse) == "succeeded" and request.key is None and step_of(context) is None
    outputs = {**(request.outputs or {}), OUTPUT: VALUE_PATH}
    return replace(request, outputs=outputs, key=_BY_CONTENT if cached else request.key)


def _refuse_mismatch(hpc: HPCJobRunner, call: Packed, words: tuple[str, ...], profile: ExecutionProfile) -> None:
    """Before there is a job: a function that travels by value needs the same Python, and cloudpickle, there."""
    if call.by_value is None:
        return
    there = Interpreter(
        words,
        tuple(profile.modules),
        tuple(profile.pre_commands),
        tuple(sorted(profile.environments.items())),
        profile.container,
    )
    why = there.fault(call.by_value, hpc._answer_of(there))
    if why:
        raise ConfigurationError(
            f"the function {call.name} travels by value, and {' '.join(words)} cannot take it: {why}",
            advice="set `python` of the target or the profile to one that fits; or put the function into a module that is "
            "installed there, and it travels by name.",
        )
