"""From commands to handles: what a runner does when it is asked to submit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_hpc.engine.errors import HPCError
from dagster_hpc.engine.job import Dependency, DependencyKind, JobHandle, JobSpec, Own, Request
from dagster_hpc.engine.target import script_stem
from dagster_hpc.resources.command import Command, InputFile
from dagster_hpc.resources.deployment import deployment_of
from dagster_hpc.resources.identity import Asker, CallCounter, asker_of, identity_of
from dagster_hpc.resources.limits import limits_of
from dagster_hpc.resources.received import partitions_received
from dagster_hpc.resources.request import JobRequest
from dagster_hpc.resources.resolve import read_inputs, resolve
from dagster_hpc.resources.retry import engine_resume, engine_rules
from dagster_hpc.resources.step import (
    Context,
    as_dagster_failure,
    asset_key_of,
    job_name,
    listener_of,
    op_of,
    received_by,
    step_of,
    tag_run,
)

if TYPE_CHECKING:
    from dagster_hpc.engine.runner import Runner
    from dagster_hpc.resources.job_runner import HPCJobRunner


@dataclass(frozen=True)
class Element:
    """One of several commands that are asked for together; a partition may have several of them."""

    command: Command
    args: Sequence[str] = ()
    partition_key: str | None = None


@dataclass(frozen=True)
class Submitting:
    """One request of one asker. `interruptible`: jobs of a run that a user terminates are cancelled."""

    hpc: HPCJobRunner
    engine: Callable[[], Runner]
    calls: CallCounter
    context: Context | None
    interruptible: Callable[[Sequence[JobHandle]], AbstractContextManager[None]]

    def one(self, command: Command, request: JobRequest, *, after: Sequence[JobHandle] = ()) -> JobHandle:
        """A job. `after`: jobs whose files are among its inputs; which they are says those, and not the ids of the queue."""
        with as_dagster_failure(self.context):
            spec, contents = self.spec(command, request), _contents(command.inputs, request.inputs)
            asker = self._asker(request)
            identity = asker and self._identity(asker, spec, contents)
            if after:
                spec = self.spec(command, replace(request, dependencies=[*request.dependencies, *self._ends_of(after)]))
            with self.interruptible([]):
                ((handle,),) = self._send([self._request(spec, request, inputs=contents, identity=identity,
                                                         partition_key=asker and asker.partition_key)],
                                          command.description)  # fmt: skip
            return handle

    def array(self, elements: Sequence[Element], request: JobRequest, max_running: int | None) -> list[JobHandle]:
        """An array job; where the system has none, a job for each."""
        if not elements:
            return []
        with as_dagster_failure(self.context):
            if "array" in self.hpc.where.scheduler.lacks:
                return self._singly(elements, max_running, request)
            commands = [element.command for element in elements]
            how: dict[str, Any] = {"commands": commands}
            if all(command is commands[0] or command == commands[0] for command in commands):
                how = {"elements": [element.args for element in elements]}
            spec = self.spec(commands[0], request, element_limit=max_running, **how)
            shared = read_inputs(request.inputs or {})
            own = self._own(elements, [spec.alone(index) for index in range(len(elements))], shared, request)
            with self.interruptible([]):
                (handles,) = self._send([self._request(spec, request, inputs=shared, own=own)], commands[0].description)
            return handles

    def spec(self, command: Command, request: JobRequest, **how: Any) -> JobSpec:
        """The job that is asked for, with all names resolved."""
        spec = resolve(
            command,
            self.hpc.profile(request.profile, request.overrides),
            self.hpc.where,
            args=request.args,
            outputs=request.outputs,
            dependencies=request.dependencies,
            name=job_name(command, self.context),
            **{"folder": self.hpc.folder, **how},
        )
        self.hpc.conceal_from_now_on(value for _, value in spec.secret_environment)
        return spec

    def _asker(self, request: JobRequest) -> Asker | None:
        return asker_of(request.key, self.context)

    def _identity(self, asker: Asker, spec: JobSpec, contents: Mapping[str, bytes], *, element: str = "") -> str:
        target = self.engine().identify(listener_of(self.context)).key
        template = _text_of(self.hpc.target.template)
        return identity_of(asker, spec, contents, target, self.calls, template=template, element=element)

    def _own(
        self, elements: Sequence[Element], alone: Sequence[JobSpec], shared: Mapping[str, bytes], request: JobRequest
    ) -> tuple[Own, ...]:
        """What each element has of its own. That of a partition is the job that the partition alone would be."""
        asker, keys = self._asker(request), [element.partition_key for element in elements]
        several, before = Counter(keys), Counter[str | None]()
        received = partitions_received(self.context) if self.context and asker else None
        own = []
        for element, spec in zip(elements, alone, strict=True):
            inputs, key, identity = read_inputs(element.command.inputs), element.partition_key, None
            if asker is not None:
                who = replace(asker, partition_key=asker.partition_key if key is None else key)
                # Equal calls of a step are numbered; under a key of the user's, elements of no partition are, too.
                which = "" if asker.step or (key is not None and several[key] == 1) else str(before[key])
                identity = self._identity(who, spec, {**shared, **inputs}, element=which)
                before[key] += 1
            own.append(
                Own(
                    identity,
                    asker.partition_key if key is None and asker else key,
                    inputs,
                    received(key) if received and key is not None else None,
                    together=several[key],
                )
            )
        return tuple(own)

    def _request(self, spec: JobSpec, request: JobRequest, *, below: str | None = None, **more: Any) -> Request:
        """`below`: another folder than the runner's for the job's directory."""
        step, limits = step_of(self.context), limits_of(self.hpc.target.limits, spec.queue)
        return Request(
            spec=spec,
            work_root=below or self.hpc.folder,
            reuse=request.reuse or self.hpc.reuse,
            retry=engine_rules(self.hpc.retry if request.retry is None else request.retry, limits),
            resume=engine_resume(request.resume, spec),
            profile=request.profile if isinstance(request.profile, str) else "",
            asset_key=asset_key_of(self.context),
            deployment=deployment_of(op_of(self.context).instance) if self.context and step else "",
            run_id=step.run_id if step else None,
            step_key=step.step_key if step else None,
            received=received_by(self.context),
            **more,
        )

    def _send(self, requests: Sequence[Request], description: str | None) -> list[list[JobHandle]]:
        engine = self.engine()
        handles = engine.submit_all(requests, listener_of(self.context))
        if self.context:
            tag_run(self.context, engine)
            for each in handles:
                self.context.log.info(f"{description}: {_sentence(each)}" if description else _sentence(each))
        return handles

    def _singly(self, elements: Sequence[Element], max_running: int | None, request: JobRequest) -> list[JobHandle]:
        """What stands for an array where there is none: all of these jobs or none, side by side, inputs above them."""
        from dagster_hpc.engine.submit.claim import place

        engine, shared = self.engine(), read_inputs(request.inputs or {})
        limit = max_running or len(elements)
        waits = [Dependency("afterany", "")]  # for the end of the one `limit` places before
        for index, element in enumerate(elements):  # all faults that such a chain can have, before the first is sent
            dependencies = (*request.dependencies, *(waits if index >= limit else ()))
            self.spec(element.command, replace(request, args=(*request.args, *element.args), dependencies=dependencies))
        specs = [self.spec(each.command, replace(request, args=(*request.args, *each.args))) for each in elements]
        own = self._own(elements, specs, shared, request)
        stem, below = script_stem(specs[0].name), None
        if shared:
            below = os.path.join(self.hpc.folder, f"{stem}-{engine.ledger.claims.new_token()}")
            place(os.path.join(below, stem), shared, engine.target)
        handles: list[JobHandle] = []
        with self.interruptible(handles):
            try:
                for start in range(0, len(specs), limit):
                    requests = []
                    for index in range(start, min(start + limit, len(specs))):
                        after = [Dependency("afterany", self._id_of(handles[index - limit]))] if index >= limit else []
                        spec = replace(specs[index], dependencies=(*specs[index].dependencies, *after))
                        of = own[index]
                        alone = self._request(spec, request, below=below, inputs=of.inputs, identity=of.identity,
                                              partition_key=of.partition_key, together=of.together)  # fmt: skip
                        requests.append(replace(alone, received=of.received or alone.received))
                    handles += [handle for (handle,) in self._send(requests, elements[start].command.description)]
            except HPCError:
                with suppress(HPCError):
                    engine.cancel([handle for handle in handles if not handle.joined])
                raise
        return handles

    def _ends_of(self, handles: Sequence[JobHandle]) -> list[Dependency]:
        """Where a system cannot wait for a good end, it waits for any: the job itself misses the files then."""
        kind: DependencyKind = "afterany" if "afterok" in self.hpc.target.scheduler.lacks else "afterok"
        return [Dependency(kind, self._id_of(handle)) for handle in handles]

    def _id_of(self, handle: JobHandle) -> str:
        """The scheduler's id of a job that another one depends on; a job that waits for room is waited for."""
        return handle.job_id or self.engine().wait_for_id(handle)


def _contents(*inputs: Mapping[str, InputFile] | None) -> dict[str, bytes]:
    return read_inputs({name: source for each in inputs for name, source in (each or {}).items()})


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
