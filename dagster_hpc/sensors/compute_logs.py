"""What a job printed, in the compute logs of the run that submitted it: as if its step had waited and printed it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any

import dagster as dg
from dagster._core.events import ComputeLogsCaptureData, DagsterEvent
from dagster._core.storage.compute_log_manager import ComputeIOType

from dagster_hpc.engine.job import JobHandle
from dagster_hpc.engine.ledger import Report
from dagster_hpc.engine.report import Ended
from dagster_hpc.engine.target import Listener


@dataclass(frozen=True)
class ComputeLogs:
    """The logs of the jobs of one report. Where the run is gone, or logs are not kept, the jobs' own files have them."""

    instance: dg.DagsterInstance
    report: Report
    ended: Ended

    @property
    def file_key(self) -> str:
        return f"job_{self.report.report}"

    def is_told(self) -> bool:
        records = self.instance.get_records_for_run(
            self.report.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED, limit=1000
        ).records
        events = [record.event_log_entry.dagster_event for record in records]
        return any(event is not None and event.logs_captured_data.file_key == self.file_key for event in events)

    def tell(self) -> None:
        run = self.instance.get_run_by_id(self.report.run_id)
        if run is None or not self._written():
            return
        event = DagsterEvent(
            event_type_value=dg.DagsterEventType.LOGS_CAPTURED.value,
            job_name=run.job_name,
            message=f"{self.report.asset_key}: its job is over; this is what it printed.",
            event_specific_data=ComputeLogsCaptureData(
                self.file_key, [f"{self.report.step_key}, job {self.ended.results[0].handle.job_id}"]
            ),
        )
        self.instance.report_dagster_event(event, run.run_id)

    def _written(self) -> bool:
        """Write both streams; what an earlier attempt wrote is written over. False where logs are not kept."""
        manager = self.instance.compute_log_manager
        # Managers that keep logs in a cloud upload both streams when either is closed: the first is written locally.
        local = getattr(manager, "local_manager", manager)
        key = manager.build_log_key_for_run(self.report.run_id, self.file_key)
        with local.open_log_stream(key, ComputeIOType.STDOUT) as stdout:
            if stdout is None:
                return False
            self._copy(stdout, "stdout")
        with manager.open_log_stream(key, ComputeIOType.STDERR) as stderr:
            if stderr is not None:
                self._copy(stderr, "stderr")
        return True

    def _copy(self, to: IO[Any], wanted: str) -> None:
        as_text = isinstance(to, io.TextIOBase)
        if to.seekable():
            to.truncate(0)

        def write(handle: JobHandle, stream: str, line: str) -> None:
            if stream == wanted:
                index = handle.token.partition(".")[2] or handle.job_id
                text = f"{'' if self.report.single else f'[{index}] '}{line}\n"
                to.write(text if as_text else text.encode())

        self.ended.pass_on(Listener(on_output=write))
