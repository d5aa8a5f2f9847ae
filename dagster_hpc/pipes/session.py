"""Dagster's side of jobs that speak Pipes: their context before they run, their results when they have ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import dagster as dg
from dagster._check import CheckError
from dagster_pipes import PipesContextData

from dagster_hpc.pipes.messages import VERSION_FIELD, JobMessages
from dagster_hpc.pipes.reports import PipesReportFaulty, metadata_keys, reported


class _ContextFile(dg.PipesContextInjector):
    """The context becomes a file of the job when that is submitted."""

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[Mapping[str, Any]]:
        yield {}

    def no_messages_debug_text(self) -> str:
        return "The context lies in .pipes/context.json of the job's directory."


class _MessageFile(dg.PipesMessageReader):
    """Messages are handed to Dagster once it is known that they are all there."""

    handler: dg.PipesMessageHandler
    expected_writer_count = 1  # what the base says by a method that warns of itself

    @contextmanager
    def read_messages(self, handler: dg.PipesMessageHandler) -> Iterator[Mapping[str, Any]]:
        self.handler = handler
        yield {}

    def no_messages_debug_text(self) -> str:
        return "Looked for them in .pipes/ of the job's directory."


@dataclass
class StepSession:
    """The Pipes session of a step, for one job or for all elements of an array."""

    step: dg.OpExecutionContext
    session: dg.PipesSession
    reader: _MessageFile

    def context_data(self, partition_key: str | None = None) -> dict[str, Any]:
        """What a program finds in its context: of this one partition, or of all that the step is about."""
        data = dict(cast(Mapping[str, Any], self.session.context_data))
        if partition_key is not None:
            data["partition_key"] = partition_key
            data["partition_key_range"] = {"start": partition_key, "end": partition_key}
        elif data["partition_key"] is None and self.step.has_partition_key_range:
            keys = list(self.step.partition_keys)
            data["partition_key_range"] = {"start": keys[0], "end": keys[-1]}
            data["extras"] = {"partition_keys": keys, **data["extras"]}
        return data

    def results(self, messages: JobMessages, metadata: Mapping[str, Any]) -> dg.PipesClientCompletedInvocation:
        """What a job has reported that ended well. Metadata of the job never replaces what its program said."""
        if lacking := messages.lacking():
            raise PipesReportFaulty(lacking)
        if raised := messages.exception():
            raise PipesReportFaulty(f"its program left Dagster Pipes by an exception:\n{raised}")
        said = reported(messages.kept, self._asset_keys())
        handler = dg.PipesMessageHandler(self.session.context, self.reader)
        for message in said:
            try:
                _hand_over(handler, message["method"], message["params"])
            except (CheckError, dg.DagsterError) as error:
                raise PipesReportFaulty(f"Dagster does not take what it reported: {error}") from error
        ours = {name: value for name, value in metadata.items() if name not in metadata_keys(said)}
        return dg.PipesClientCompletedInvocation(replace(self.session, message_handler=handler), metadata=ours)

    def _asset_keys(self) -> list[str]:
        """The assets that the step is about: those that it makes, or whose checks it answers."""
        made = list(self.session.context_data["asset_keys"] or ())
        if made or not self.step.has_assets_def:
            return made
        return sorted({key.asset_key.to_escaped_user_string() for key in self.step.assets_def.check_keys})

    def heard(self, *, all_of_it: bool) -> None:
        """Tell Dagster that the jobs have reported, and whether nothing is missing."""
        _hand_over(self.reader.handler, "opened", {"extras": {}})
        if all_of_it:
            _hand_over(self.reader.handler, "closed", {})


@contextmanager
def step_session(step: dg.OpExecutionContext, extras: Mapping[str, Any]) -> Iterator[StepSession]:
    """Open a session for this step, with what its jobs are to be told beside what Dagster knows."""
    reader = _MessageFile()
    with dg.open_pipes_session(step, _ContextFile(), reader, dict(extras)) as session:
        yield StepSession(step, session, reader)


def _hand_over(handler: dg.PipesMessageHandler, method: str, params: Mapping[str, Any]) -> None:
    handler.handle_message(cast(Any, {VERSION_FIELD: "0.1", "method": method, "params": params}))
