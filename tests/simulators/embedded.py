"""What simulators are built on: our embedded batch system, which runs the scripts for real, and switches for trouble.

A simulator reads the directives of its system, hands the script over as one of the embedded system's own, and answers
with what that one says of the job. It remembers what it needs in small files below one folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagster_hpc.local_batch.__main__ import main as local_batch

REPOSITORY = Path(__file__).parents[2]
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OOM", "NODE_FAIL")

Job = dict[str, Any]


@dataclass
class Embedded:
    """The embedded system below this folder, and what tests have switched on."""

    folder: Path

    # -- for tests

    def install(self, module: str, commands: Iterable[str]) -> None:
        """Executables in `bin` that answer through `main` of this module."""
        for name in ("bin", "switches", "jobs", "ends", "held", "begun"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("switches", "jobs", "ends", "held", "begun"):
            (self.folder / name).chmod(0o777)
        start = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from {module} import main; sys.exit(main())"
        for command in commands:
            program = self.folder / "bin" / command
            words = shlex.join([sys.executable, "-c", start, str(self.folder), command])
            program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            program.chmod(0o755)

    def environment(self) -> dict[str, str]:
        knobs = {"KILL_AFTER": "0.3", "POLL": "0.5", "SAMPLE": "0.1", "IDLE": "1"}
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return {"PATH": path, **{f"LOCAL_BATCH_{name}": value for name, value in knobs.items()}}

    def switch(self, name: str, on: bool = True) -> None:
        file = self.folder / "switches" / name
        if on:
            file.touch()
        else:
            file.unlink(missing_ok=True)

    def stop(self) -> None:
        """End all jobs and the daemon."""
        with self._environment():
            if live := [str(job["id"]) for job in self.query()]:
                self.cancel(live)
            deadline = time.monotonic() + 30
            while self.query() and time.monotonic() < deadline:
                time.sleep(0.1)
        for daemon in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = daemon.read_bytes().split(b"\0")
                if b"daemon" in words and os.fsencode(self.spool) in words:
                    os.kill(int(daemon.parent.name), signal.SIGTERM)

    # -- for simulators

    @property
    def spool(self) -> str:
        return os.path.realpath(self.folder / "spool")

    def is_on(self, name: str) -> bool:
        return (self.folder / "switches" / name).exists()

    def submit(
        self, script: bytes, directives: Sequence[str], variables: Mapping[str, str], notes: Job, *, held: bool = False
    ) -> str:
        """Queue a script with these directives of ours. In it, a job on hold waits before its first line."""
        mark = uuid.uuid4().hex
        if held:
            (self.folder / "held" / mark).touch()
        first, _, rest = script.decode("utf-8", "surrogateescape").partition("\n")
        wait = shlex.quote(str(self.folder / "held" / mark))
        begun = shlex.quote(str(self.folder / "begun"))
        lines = [
            first if first.startswith("#!") else "#!/bin/sh",
            *(f"#LOCAL --{each}" for each in directives),
            f"while [ -e {wait} ]; do sleep 0.05; done",
            f"touch {begun}/$LOCAL_JOB_ID${{LOCAL_ARRAY_INDEX:+_$LOCAL_ARRAY_INDEX}}",
            *(f"export {name}={value}" for name, value in variables.items()),
            rest if first.startswith("#!") else f"{first}\n{rest}",
        ]
        file = self.folder / "jobs" / f"{mark}.sh"
        file.write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
        job_id = self._run("submit", "--capacity-cores", "64", "--capacity-memory", "64000", str(file)).strip()
        self._write("jobs", job_id, {**notes, "mark": mark})
        file.unlink()
        return job_id

    def query(self, ids: Iterable[str] = (), name: str | None = None) -> list[Job]:
        """What the embedded system says, with `notes` of the submission, `end` if a test gave it one, and `held`."""
        named = ["--name", name] if name is not None else []
        jobs: list[Job] = json.loads(self._run("query", *named, *ids))["jobs"]
        for job in jobs:
            job["notes"] = self._read("jobs", job["array_id"]) or {}
            job["end"] = self._read("ends", job["id"]) or self._read("ends", job["array_id"])
            begun = self.folder / "begun" / job["id"]
            job["begun"] = begun.exists()
            job["started_at"] = begun.stat().st_mtime if job["begun"] else None
            mark = job["notes"].get("mark", "")
            job["held"] = not job["begun"] and bool(mark) and (self.folder / "held" / mark).exists()
        return jobs

    def all_ids(self) -> list[str]:
        return [file.stem for file in (self.folder / "jobs").glob("*.json")]

    def knows(self, job_id: str) -> bool:
        return (self.folder / "jobs" / f"{job_id.partition('_')[0]}.json").exists()

    def cancel(self, ids: Iterable[str]) -> None:
        self._run("cancel", *ids)

    def give_end(self, job_id: str, end: Job) -> None:
        """From now on this is how the job ended, whatever the embedded system knows."""
        self._write("ends", job_id, end)

    def hold(self, job_id: str) -> None:
        (self.folder / "held" / self._read("jobs", job_id)["mark"]).touch()

    def release(self, job_id: str) -> None:
        (self.folder / "held" / self._read("jobs", job_id)["mark"]).unlink(missing_ok=True)

    def wreck(self, job_id: str, end: Job) -> None:
        """Its node dies: nothing of the job can write a last word."""
        self.give_end(job_id, end)
        with self._environment():
            (job,) = self.query([job_id])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job["pid"], signal.SIGKILL)

    def answer(self, respond: Callable[[], int]) -> int:
        """The program's whole answer, spoilt as switched on."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = respond()
        text = out.getvalue().encode("utf-8", "surrogateescape")
        if self.is_on("bytes"):
            text = b"caf\xe9 \xff\xfe\n" + text
        if self.is_on("truncate"):
            text = text[: len(text) // 2]
        sys.stdout.buffer.write(text)
        return code

    def _run(self, command: str, *words: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = local_batch([command, "--spool", self.spool, *words])
        if code and command != "cancel":
            raise Refused(err.getvalue().strip())
        return out.getvalue()

    @contextlib.contextmanager
    def _environment(self) -> Any:
        before = dict(os.environ)
        os.environ.update(self.environment())
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    def _write(self, kind: str, name: str, values: Job) -> None:
        file = self.folder / kind / f"{name}.json"
        half = file.with_suffix(f".{uuid.uuid4().hex}")
        half.write_text(json.dumps(values))
        half.rename(file)

    def _read(self, kind: str, name: str) -> Any:
        file = self.folder / kind / f"{name}.json"
        return json.loads(file.read_text()) if file.exists() else None


class Refused(Exception):
    """The embedded system did not take it."""


def directive_words(script: str, prefix: str) -> list[list[str]]:
    """The words of each directive line in the head of a script, as the system reads them."""
    words = []
    for line in script.split("\n"):
        if line.strip() and not line.startswith("#"):
            break
        if line.startswith(f"{prefix} "):
            words.append(shlex.split(line.removeprefix(prefix), comments=False))
    return words
