"""Clients that are killed, and a system that fails around them, until so many faults have happened; then the reckoning.

Every key is asked for again and again, each time by a new process, until one of them has an answer. Others poll meanwhile,
some keys are wanted by two at once. Nothing here is simulated: a real Slurm, real kills, a real database.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dagster_hpc.engine.ledger import Ledger
from tests.faults.campaign.client import Wish, live
from tests.faults.campaign.faults import FATES, Commands, outages
from tests.faults.campaign.truth import UNSETTLED, Account, Findings, accounts_of, compare, runs_of
from tests.systems.postgres import PostgresServer
from tests.systems.slurm import SlurmCluster

VERBS = ("run", "run", "run", "submit", "map", "cancel")
_MOST_DEATHS = 4  # of one key's clients: then one may live
_ANSWER_WITHIN_S = 400.0
_SETTLED_WITHIN_S = 240.0
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.faults.campaign.client"])


@dataclass(frozen=True)
class Settings:
    faults: int
    seed: int
    side_by_side: int = 8
    max_jobs: int | None = None
    quiet: bool = False


@dataclass
class Report:
    """What happened, and what was found."""

    faults: Counter[str]
    keys: int
    jobs: int
    runs: int
    seconds: float
    findings: Findings
    points: set[str] = field(default_factory=set)

    @property
    def table(self) -> str:
        found = self.findings
        lines = [f"{kind:34}{count:6}" for kind, count in sorted(self.faults.items())]
        lines += ["-" * 40, f"{'faults in all':34}{sum(self.faults.values()):6}", ""]
        totals = {
            "keys asked for": self.keys, "jobs in Slurm": self.jobs, "payload runs": self.runs,
            "named points passed": len(self.points), "doubled": len(found.doubled), "lost": len(found.lost),
            "misjudged": len(found.misjudged), "unsettled": len(found.unsettled), "wrong errors": len(found.errors),
            "crashed": len(found.crashed),
            "again, delivered to a dead client": len(found.again_after_delivery), "seconds": round(self.seconds),
        }  # fmt: skip
        lines += [f"{name:34}{count:6}" for name, count in totals.items()]
        return "\n".join([*lines, *(f"! {violation}" for violation in found.violations)])


class Campaign:
    """One campaign in a folder, on a cluster that it has for itself."""

    def __init__(
        self, settings: Settings, folder: Path, cluster: SlurmCluster, database: PostgresServer | None = None
    ) -> None:
        self.settings, self.folder, self.cluster = settings, folder, cluster
        for name in ("answers", "logs", "traces", "work"):
            (folder / name).mkdir(parents=True)
        self._random = random.Random(settings.seed)
        self._commands = Commands(folder)
        self._ledger_file = folder / "ledger.db"
        url = database.url if database else f"sqlite:///{self._ledger_file}"
        self._outages = outages(cluster, database or self._ledger_file, self._random)
        self._environment = {
            **cluster.environment,
            "PATH": f"{self._commands.folder}:{os.environ['PATH']}",
            "DAGSTER_HPC_LEDGER": url,
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self._url = url
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._faults: Counter[str] = Counter()
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self._codes: dict[str, int] = {}
        self._points: set[str] = set()
        self._findings = Findings()
        self._keys = self._processes = 0

    def run(self) -> Report:
        began = time.monotonic()
        breakers = [threading.Thread(target=self._break), threading.Thread(target=self._poll)]
        for thread in breakers:
            thread.start()
        try:
            with ThreadPoolExecutor(self.settings.side_by_side) as pool:
                for done in [pool.submit(self._ask_for_keys) for _ in range(self.settings.side_by_side)]:
                    done.result()
        finally:
            self._over.set()
            (self.folder / "over").touch()
            for thread in breakers:
                thread.join()
        self._settle()
        return self._reckon(time.monotonic() - began)

    # ------------------------------------------------------------------ those who want something

    def _ask_for_keys(self) -> None:
        while not self._over.is_set():
            with self._lock:
                self._keys += 1
                verb = self._random.choice(VERBS)
                key = f"{verb}-{self._keys:04}"
                seed = self._random.random()
            try:
                self._ask_for(key, verb, random.Random(seed))
            except Exception as error:  # noqa: BLE001 - the campaign goes on, and tells it in the end
                self._findings.crashed.append(f"{key}: the campaign itself failed: {error!r}")

    def _ask_for(self, key: str, verb: str, r: random.Random) -> None:
        seconds = 60.0 if verb == "cancel" else r.choice((0.2, 1.0, 3.0))
        code = 3 if verb != "cancel" and r.random() < 0.15 else 0
        self._codes[key] = code
        wanted = {"key": key, "verb": verb, "seconds": seconds, "code": code}
        if r.random() < 0.5:
            self._commands.order(r.choice(sorted(FATES)))
        twin = None
        if verb == "run" and r.random() < 0.3:
            twin = threading.Thread(target=self._until_answered, args=(wanted, random.Random(r.random()), 1))
            twin.start()
        self._until_answered(wanted, r, r.randint(0, _MOST_DEATHS))
        if twin:
            twin.join()

    def _until_answered(self, wanted: dict[str, Any], r: random.Random, deaths: int) -> None:
        for _ in range(40):
            how = r.choice(("moment", "moment", "point")) if deaths > 0 else ""
            dies_at = None
            if how == "point" and (points := sorted(self._points)):
                dies_at = (r.choice(points), r.choice((1, 1, 2)))
            with self._client(wanted, dies_at) as (wish, process):
                if how and not dies_at:
                    process.join(r.uniform(0.05, 6.0))
                    if process.is_alive():
                        self._kill(process, "client: killed at a random moment")
                process.join(_ANSWER_WITHIN_S)
                if process.is_alive():
                    self._findings.unsettled.append(f"{wish.name} has no answer after {_ANSWER_WITHIN_S:g} s")
                    self._kill(process, "")
                    return
            deaths -= 1
            if dies_at and process.exitcode == -signal.SIGKILL:
                self._count("client: killed at a named point")
            if self._heard(wish):
                return
            if r.random() < 0.5:
                time.sleep(r.uniform(0, 8))  # the next attempt comes when others may have seen the job end
        self._findings.unsettled.append(f"{wanted['key']} was asked for 40 times in vain")

    def _heard(self, wish: Wish) -> bool:
        """Take in the answer of a client. False: none came, or it was to ask again."""
        if not wish.answer.exists():
            return False
        answer = json.loads(wish.answer.read_text())
        with self._lock:
            self._points |= set(answer["points"])
            self._answers.setdefault(wish.key, []).append(answer)
            if "crash" in answer:
                self._findings.crashed.append(f"{wish.name}: {answer['words']}")
                return True  # a fault of ours, or of the engine: to ask again would only repeat it
            if answer.get("error") in ("SubmitRefused", "ConfigurationError", "LedgerError", "JobLost"):
                self._findings.errors.append(f"{wish.name} was told {answer['error']}: {answer['words']}")
        return "results" in answer

    @contextlib.contextmanager
    def _client(self, wanted: dict[str, Any], dies_at: tuple[str, int] | None) -> Iterator[tuple[Wish, Any]]:
        with self._lock:
            self._processes += 1
            name = f"{wanted.get('key') or 'poll'}.{self._processes:05}"
        wish = Wish(
            name, str(self.folder), dies_at=dies_at, max_jobs=self.settings.max_jobs, environment=self._environment,
            **wanted,
        )  # fmt: skip
        process = _PROCESSES.Process(target=live, args=(wish,), daemon=True)
        process.start()
        try:
            yield wish, process
        finally:
            if process.is_alive():
                process.kill()
            process.join()

    def _kill(self, process: Any, kind: str) -> None:
        process.kill()
        process.join()
        if kind:
            self._count(kind)

    # ------------------------------------------------------------------ what goes wrong

    def _count(self, kind: str) -> None:
        with self._lock:
            self._faults[kind] += 1
            count = sum(self._faults.values()) + self._commands.met()
            if count >= self.settings.faults:
                self._over.set()
        if not self.settings.quiet and count % 25 == 0:
            print(f"{count} faults", flush=True)

    def _break(self) -> None:
        """One outage after the other, with quiet times in between."""
        while not self._over.wait(self._random.uniform(2, 10)):
            kind = self._random.choice(sorted(self._outages))
            if kind.startswith("ledger: locked") and not self._ledger_file.exists():
                continue
            try:
                self._outages[kind]()
            except Exception as error:  # noqa: BLE001 - told in the end
                self._findings.crashed.append(f"{kind}: {error!r}")
            self._count(kind)

    def _poll(self) -> None:
        """Somebody looks all the time, and is killed now and then."""
        while not self._over.is_set():
            with self._client({"verb": "poll"}, None) as (wish, process):
                self._over.wait(self._random.uniform(3, 30))
                if not self._over.is_set() and process.is_alive():
                    self._kill(process, "poller: killed")
                elif not self._over.is_set():
                    self._findings.errors.append(f"a poller has ended: {wish.answer.read_text()[-1500:]}")

    # ------------------------------------------------------------------ the end

    def _settle(self) -> None:
        """All faults are over: one who only looks must bring everything to its end."""
        self._commands.withdraw()
        (self.folder / "over").unlink()
        ledger = Ledger(self._url)
        deadline = time.monotonic() + _SETTLED_WITHIN_S
        with self._client({"verb": "poll"}, None):
            while time.monotonic() < deadline and ledger.jobs(live=True):
                time.sleep(0.5)
            (self.folder / "over").touch()
        ledger.close()
        time.sleep(3.0)  # the accounts of the last one, or more on a busy machine
        while time.monotonic() < deadline and any(account.state in UNSETTLED for account in self._accounts()):
            time.sleep(0.5)

    def _reckon(self, seconds: float) -> Report:
        for order in sorted((self.folder / "orders").glob("*.taken")):
            text = order.read_text().strip()
            program = order.name.partition(".")[0]
            self._faults[next(kind for kind, fate in FATES.items() if fate == (program, text))] += 1
        rows = Ledger(self._url).jobs()
        runs = runs_of(self.folder / "traces")
        accounts = self._accounts()
        found = compare(rows, runs, accounts, self._answers, self._codes)
        for name in Findings.__dataclass_fields__:
            getattr(self._findings, name).extend(getattr(found, name))
        return Report(
            +self._faults, self._keys, len(accounts), len(runs), seconds, self._findings, self._points,
        )  # fmt: skip

    def _accounts(self) -> list[Account]:
        return [account for account in accounts_of(self.cluster) if self._is_ours(account.name)]

    def _is_ours(self, name: str) -> bool:
        return name.rpartition("_")[0] in self._codes
