"""Records what a real Slurm answers to the very commands that `Slurm` builds.

    python -m tests.transcripts.slurm.record

starts a cluster of its own as root, provokes every case below, and rewrites the files beside this one. Each case is
NAME.cmd (the command), NAME.out, NAME.err and NAME.rc. What cannot be provoked is called documented_…, see README.md.
"""

from __future__ import annotations

import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from dagster_hpc.engine.call import Answer, Call
from dagster_hpc.engine.hosts.local import LocalHost
from dagster_hpc.engine.schedulers.slurm.requests import Slurm
from tests.systems.slurm import SlurmCluster
from tests.systems.slurm_config import CLUSTER, Layout

HERE = Path(__file__).parent
SLURM = Slurm()
TOKEN = "abcd2345"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="transcripts-") as folder, mock.patch.object(Layout, "texts", _with_limits):
        place = Path(folder)
        place.chmod(0o755)
        cluster = SlurmCluster(place / "cluster")
        cluster.start()
        try:
            Recorder(cluster, place).record_all()
        finally:
            cluster.stop()


_texts = Layout.texts


def _with_limits(layout: Layout, slurm_user: str, slurmd_user: str) -> dict[str, str]:
    """The test cluster, which here also counts jobs: limits of a quality of service are to be met."""
    texts = _texts(layout, slurm_user, slurmd_user)
    conf = texts["slurm.conf"].replace("Enforce=associations", "Enforce=associations,limits,qos")
    return {**texts, "slurm.conf": conf}


@dataclass
class Recorder:
    cluster: SlurmCluster
    folder: Path

    def record_all(self) -> None:
        for kind in ("cmd", "out", "err", "rc"):
            for old in HERE.glob(f"*.{kind}"):
                if not old.name.startswith(("documented_", "history_half_written")):  # the latter is a matter of luck
                    old.unlink()
        self.identity()
        self.submissions()
        self.refusals()
        self.waiting()
        self.ends()
        self.arrays()
        self.runs_of_one_id()
        self.steps()
        self.room()
        self.without_daemons()

    # -- cases

    def identity(self) -> None:
        self.keep("identify", SLURM.identify())
        self.keep("identify_cluster", Slurm(cluster=CLUSTER).identify())
        self.keep("identify_unknown_cluster", Slurm(cluster="nosuch").identify())

    def submissions(self) -> None:
        ok = self.script("ok")
        self.keep("submit_ok", SLURM.submit(ok))
        self.keep("submit_to_cluster", Slurm(cluster=CLUSTER).submit(ok))
        self.keep("submit_array", SLURM.submit(self.script("array", "--array=0-2%1")))
        self.keep("submit_with_dependency", SLURM.submit(self.script("after", "--dependency=afterok:1,afterany:2")))

    def refusals(self) -> None:
        wrong = {
            "partition": "--partition=nope",
            "account": "--account=nope",
            "qos": "--qos=nope",
            "reservation": "--reservation=nope",
            "memory": "--mem=99G",
            "gpus": "--gpus-per-node=9",
            "feature": "--constraint=nope",
            "time": "--time=bogus",
            "signal": "--signal=NOPE@10",
            "dependency": "--dependency=afterok:abc",
            "array": "--array=0-20000",
            "option": "--nonsense=1",
        }
        for name, directive in wrong.items():
            self.keep(f"refused_{name}", SLURM.submit(self.script(name, directive)))
        self.keep("refused_no_script", SLURM.submit(f"{self.folder}/nowhere.slurm"))
        for name, text in {"no_shebang": "true\n", "dos_lines": "#!/bin/bash\r\ntrue\r\n", "empty": ""}.items():
            path = self.folder / f"{name}.slurm"
            path.write_text(text, newline="")
            self.keep(f"refused_{name}", SLURM.submit(str(path)))
        self.sacctmgr("add qos narrow set MaxSubmitJobsPerUser=1 MaxJobsPerUser=1")
        self.sacctmgr("modify user root set qos=normal,narrow")
        blocker = self.submit(self.script("first", "--qos=narrow", "--hold"))
        self.keep("capacity_qos", SLURM.submit(self.script("second", "--qos=narrow")))
        self.cancel(blocker)
        self.sacctmgr("modify user root set MaxSubmitJobs=0")
        self.keep("capacity_association", SLURM.submit(self.script("third")))
        self.sacctmgr("modify user root set MaxSubmitJobs=-1")

    def waiting(self) -> None:
        self.sacctmgr("modify qos narrow set MaxSubmitJobsPerUser=-1")
        long = "sleep 600"
        failed = self.submit(self.script("failed", body="exit 1"))
        self.until(failed, "FAILED")
        options = (f"--dependency=afterok:{failed}", "--kill-on-invalid-dep=yes")
        killed = self.submit(self.script("dependency_killed", *options))
        self.settled(killed)
        self.keep("queue_dependency_killed", SLURM.queue([killed]))
        self.accounted("history_dependency_killed", killed)
        big = [self.submit(self.script("fills", "--nodes=3", "--exclusive", body=long))]
        self.until(big[0], "RUNNING")
        cases = {
            "held": ("--hold",),
            "dependency": (f"--dependency=afterok:{big[0]}",),
            "dependency_never": (f"--dependency=afterok:{failed}",),
            "begin_time": ("--begin=now+1hour",),
            "resources": ("--nodes=3", "--exclusive"),
            "priority": ("--nodes=3", "--exclusive", "--nice=100"),
            "partition_down": ("--partition=down",),
            "partition_time_limit": ("--partition=short", "--time=99"),
            "partition_config": ("--cpus-per-task=99",),
            "too_many_nodes": ("--nodes=99",),
            "name_with_separators": ("--hold", "--job-name=a|b ^^^ <><>"),
        }
        ids = {name: self.submit(self.script(name, *options, body=long)) for name, options in cases.items()}
        ids |= self.waiting_for_others()
        first = self.submit(self.script("narrow", "--qos=narrow", "--partition=gpu", body=long))
        ids["qos_limit"] = self.submit(self.script("narrow", "--qos=narrow", "--partition=gpu", body=long))
        self.until(ids["priority"], "Priority", "%r")
        self.until(ids["qos_limit"], "QOSMaxJobsPerUserLimit", "%r")
        for name, job in ids.items():
            self.keep(f"queue_{name}", SLURM.queue([job]))
        self.keep("queue_running", SLURM.queue(big))
        self.keep("queue_many", SLURM.queue([*ids.values(), *big, first, failed, "999999"]))
        self.keep("history_held", SLURM.history([ids["held"]]))
        self.keep("history_running", SLURM.history(big))
        self.keep("history_waiting", SLURM.history([ids["partition_config"]]))
        self.call("scontrol", "suspend", big[0])
        self.until(big[0], "SUSPENDED")
        self.keep("queue_suspended", SLURM.queue(big))
        self.call("scontrol", "resume", big[0])
        self.keep("find_live", SLURM.find(SLURM.job_name("fills", TOKEN))[0])
        self.keep("find_live_in_history", SLURM.find(SLURM.job_name("fills", TOKEN))[1])
        self.keep("find_nothing", SLURM.find("nothing_zzzz9999")[0])
        self.keep("find_nothing_in_history", SLURM.find("nothing_zzzz9999")[1])
        self.keep("cancel_held", SLURM.cancel([ids["held"]]))
        self.cancel(*ids.values(), *big, first)
        self.until(ids["held"], "CANCELLED")
        self.keep("queue_cancelled_while_held", SLURM.queue([ids["held"]]))
        self.accounted("history_cancelled_while_held", ids["held"])

    def waiting_for_others(self) -> dict[str, str]:
        """Jobs that an administrator, a reservation or a limit holds back."""
        held = self.submit(self.script("admin", "--hold"))
        self.call("scontrol", "release", held)
        self.call("scontrol", "hold", held)
        self.call("scontrol", "create", "reservation=later", "starttime=now+60minutes", "duration=10", "users=root",
                  "nodes=" + self.cluster.nodes[2])  # fmt: skip
        self.sacctmgr("add qos brief set MaxWall=1")
        self.sacctmgr("add qos slim set MaxTRESPerJob=cpu=1")
        self.sacctmgr("modify user root set qos=normal,narrow,brief,slim")
        self.call("scontrol", "update", f"nodename={self.cluster.nodes[3]}", "state=drain", "reason=test")
        drained = self.submit(self.script("drained", "--partition=gpu"))
        ids = {
            "held_by_admin": held,
            "reservation": self.submit(self.script("reserved", "--reservation=later")),
            "qos_time": self.submit(self.script("brief", "--qos=brief", "--time=20")),
            "qos_cores": self.submit(self.script("slim", "--qos=slim", "--partition=gpu", "--cpus-per-task=4")),
            "node_not_available": drained,
        }
        self.until_call(SLURM.queue([drained]), lambda answer: "|None|" not in answer.stdout)
        self.keep("queue_node_not_available", SLURM.queue([drained]))
        self.call("scontrol", "update", f"nodename={self.cluster.nodes[3]}", "state=resume")
        del ids["node_not_available"]
        self.cancel(drained)
        self.until(ids["qos_cores"], "QOSMaxCpuPerJobLimit", "%r")
        return ids

    def ends(self) -> None:
        bodies = {
            "ok": "true",
            "exit_3": "exit 3",
            "signal": "kill -SEGV $$",
            "killed": "kill -KILL $$",
            "exit_128": "exit 128",
            "exit_200": "exit 200",
            "oom": "exec python3 -c 'x = bytearray(400 << 20)'",
            "oom_in_step": "srun python3 -c 'x = bytearray(400 << 20)'; true",
            "log_folder_missing": "true",
        }
        options = {
            "oom": ["--mem=50"],
            "oom_in_step": ["--mem=50"],
            "log_folder_missing": [f"--output={self.folder}/nowhere/x.log"],
        }
        ended = {
            name: self.submit(self.script(name, *options.get(name, []), body=body)) for name, body in bodies.items()
        }
        worked = "python3 -c 'import time; t = time.time()\nwhile time.time() < t + 2: pass'"
        ended["two_nodes"] = self.submit(self.script("two", "--nodes=2", "--ntasks=2", body=f"srun {worked}"))
        self.settled(ended["two_nodes"])  # before a node of it is taken down
        going = {
            name: self.submit(self.script(name, *more, body=body))
            for name, more, body in (
                ("timeout", (), "sleep 600"),
                ("timeout_trapped", (), "trap 'exit 7' TERM; sleep 600 & wait"),
                ("cancelled", (), "sleep 600"),
                ("cancelled_by_user", (), "sleep 600"),
            )
        }
        going["node_fail"] = self.submit(self.script("node", f"--nodelist={self.cluster.nodes[2]}", body="sleep 600"))
        requeued = self.submit(self.script("requeue", "--requeue", body="sleep 600"))
        for job in (*going.values(), requeued):
            self.until(job, "RUNNING")
        self.cluster.expire(going["timeout"])
        self.cluster.expire(going["timeout_trapped"])
        self.cancel(going["cancelled"])
        self.call("scontrol", "requeue", requeued)
        self.keep("queue_requeued", SLURM.queue([requeued]))
        node = f"nodename={self.cluster.nodes[2]}"
        self.call("scontrol", "update", node, "state=down", "reason=test")
        self.keep("queue_node_fail", SLURM.queue([going["node_fail"]]))
        self.cluster.run(["scontrol", "update", node, "state=resume"], check=False)  # it may be back by itself
        for name, word in {"timeout": "TIMEOUT", "timeout_trapped": "TIMEOUT", "cancelled": "CANCELLED"}.items():
            self.until(going[name], word)
        self.keep("history_requeued", SLURM.history([requeued]))
        self.cancel(requeued, going["cancelled_by_user"])
        going.pop("cancelled_by_user")
        for name, job in {**ended, **going}.items():
            self.settled(job)
            self.keep(f"queue_{name}", SLURM.queue([job]))
            self.accounted(f"history_{name}", job)
        self.keep("history_many", SLURM.history([*ended.values(), *going.values(), "999999"]))
        self.keep("queue_all_ended", SLURM.queue([*ended.values(), *going.values()]))
        self.keep("queue_forgotten", SLURM.queue(["999999", "999998"]))
        self.keep("queue_forgotten_alone", SLURM.queue(["999999"]))
        self.keep("look_for_ended", SLURM.look_for(ended["exit_3"]))
        self.keep("look_for_forgotten", SLURM.look_for("999999"))
        self.keep("queue_forgotten_and_known", SLURM.queue(["999999", ended["ok"]]))
        self.keep("history_unknown", SLURM.history(["999999"]))
        self.keep("cancel_ended", SLURM.cancel([ended["ok"]]))
        self.keep("cancel_unknown", SLURM.cancel(["999999"]))
        self.keep("find_ended", SLURM.find(SLURM.job_name("ok", TOKEN))[1])

    def arrays(self) -> None:
        body = 'sleep 0.2; exit "$SLURM_ARRAY_TASK_ID"'
        mixed = self.submit(self.script("array", "--array=0-3", body=body))
        waiting = self.submit(self.script("array", "--array=0-99%2", body="sleep 600"))
        self.until(f"{waiting}_0", "RUNNING")
        self.keep("queue_array_waiting", SLURM.queue([waiting]))
        self.keep("queue_element_forgotten", SLURM.queue([SLURM.element_id(waiting, 100)]))
        self.keep("look_for_element", SLURM.look_for(SLURM.element_id(waiting, 7)))
        self.keep("look_for_array", SLURM.look_for(waiting))
        self.keep("look_for_element_forgotten", SLURM.look_for(SLURM.element_id(waiting, 100)))
        self.keep("look_for_element_of_forgotten", SLURM.look_for("999999_3"))
        self.keep("find_array", SLURM.find(SLURM.job_name("array", TOKEN))[0])
        self.keep("cancel_element", SLURM.cancel([SLURM.element_id(waiting, 1)]))
        self.cancel(waiting)
        self.settled(mixed)
        self.keep("queue_array_ended", SLURM.queue([mixed]))
        self.accounted("history_array", mixed)
        self.until_call(SLURM.history([waiting]), lambda answer: answer.stdout.count("CANCELLED") > 2)
        self.keep("history_array_cancelled", SLURM.history([waiting]))

    def runs_of_one_id(self) -> None:
        """A heterogeneous job; a requeued one, also by an accounting that shows all its runs."""
        both = self.submit(self.script("both", "--ntasks=1", "hetjob", "--ntasks=1", body="sleep 600"))
        again = self.submit(self.script("again", "--requeue", body="sleep 600"))
        self.until(again, "RUNNING")
        self.until_call(SLURM.queue([both]), lambda answer: answer.stdout.count("RUNNING") == 2)
        self.keep("queue_components", SLURM.queue([both]))
        self.keep("look_for_components", SLURM.look_for(both))
        self.until_call(SLURM.history([both, again]), lambda answer: answer.stdout.count("RUNNING|") > 4)
        self.keep("history_components", SLURM.history([both]))
        self.call("scontrol", "requeue", again)
        self.keep("queue_requeued_waiting", SLURM.queue([again]))
        call = SLURM.history([again])
        every = replace(call, argv=(call.argv[0], "-D", *call.argv[1:]))
        self.until_call(every, lambda answer: "REQUEUED" in answer.stdout and "PENDING" in answer.stdout)
        self.keep("history_of_every_run", every)
        self.cancel(both, again)

    def steps(self) -> None:
        """Steps inside a job that goes on: long and short ones, killed, unable to start, of one name, and one that runs."""
        python = "import time; x = bytearray(60 << 20); t = time.time()\nwhile time.time() < t + {}: pass"
        bodies = [
            ("long", f"python3 -c '{python.format(2.6)}'"), ("short", f"python3 -c '{python.format(0.6)}'"),
            ("wide", f"--ntasks=2 python3 -c '{python.format(2.6)}'"), ("fails", "bash -c 'exit 3'"),
            ("nowhere", "/no/such/program"), ("twin", "true"), ("twin", "true"), ("runs", "sleep 600"),
        ]  # fmt: skip
        lines = [f"srun --job-name={name} --exact --mem=0 --ntasks=1 {words}" for name, words in bodies]
        lines.insert(-1, "timeout -s TERM 3 srun --job-name=killed --exact --mem=0 --ntasks=1 sleep 600")
        job = self.submit(self.script("steps", "--ntasks=2", "--mem=400M", body="\n".join(lines)))
        accounting, config = SLURM.steps([job])
        self.until_call(accounting, lambda answer: "|runs\n" in answer.stdout)
        for number, call in enumerate((accounting, config)):
            self.keep(f"steps_{number}", call)
        self.cancel(job)

    def room(self) -> None:
        """The limits on the number of jobs, each used in part, and what is said where one is reached."""
        self.sacctmgr("modify user root set MaxSubmitJobs=9")
        self.sacctmgr("modify account proj1 set GrpSubmitJobs=30")
        self.sacctmgr("add qos shared set GrpSubmitJobs=12 MaxSubmitJobsPerUser=7 MaxSubmitJobsPerAccount=8")
        self.sacctmgr("modify user root set qos=normal,shared defaultqos=shared")
        self.rooms("room_unused")
        used = self.submit(self.script("used", "--array=0-4", "--hold"))
        self.rooms("room")
        self.keep("capacity_qos_user", SLURM.submit(self.script("more", "--array=0-2", "--hold")))
        self.sacctmgr("modify qos shared set GrpSubmitJobs=6 MaxSubmitJobsPerUser=-1 MaxSubmitJobsPerAccount=-1")
        self.keep("capacity_qos_group", SLURM.submit(self.script("more", "--array=0-2", "--hold")))
        self.sacctmgr("modify qos shared set GrpSubmitJobs=-1 MaxSubmitJobsPerAccount=6")
        self.keep("capacity_qos_account", SLURM.submit(self.script("more", "--array=0-2", "--hold")))
        self.sacctmgr("modify account proj1 set GrpSubmitJobs=6")
        self.keep("capacity_account", SLURM.submit(self.script("more", "--array=0-2", "--hold", "--qos=normal")))
        self.cancel(used)
        self.sacctmgr("modify account proj1 set GrpSubmitJobs=-1")
        self.sacctmgr("modify user root set qos=normal defaultqos=normal MaxSubmitJobs=-1")

    def rooms(self, name: str) -> None:
        for number, call in enumerate(SLURM.room("root", "cpu", "proj1")):
            self.keep(f"{name}_{number}", call)

    def without_daemons(self) -> None:
        """A client whose configuration names another port meets what it meets when the daemon is down."""
        layout = self.cluster.layout
        conf = layout.slurm_conf.read_text()
        accounting = "AccountingStorageType=accounting_storage/slurmdbd"
        lost = {
            "controller_down": (f"SlurmctldPort={layout.controller_port}", "SlurmctldPort=9"),
            "accounting_down": (
                f"AccountingStoragePort={layout.accounting_port}",
                "AccountingStoragePort=9",
            ),
            "accounting_disabled": (accounting, "AccountingStorageType=accounting_storage/none"),
            "munge_down": (str(layout.munge_socket), f"{self.folder}/no-socket"),
        }
        ok = self.script("ok")
        submit, queue, cancel = SLURM.submit(ok), SLURM.queue(["1"]), SLURM.cancel(["1"])
        history, find = SLURM.history(["1"]), SLURM.find("ok")[1]
        calls = {
            "controller_down": (
                ("submit", submit),
                ("queue", queue),
                ("cancel", cancel),
                ("identify", SLURM.identify()),
            ),
            "accounting_down": (("history", history), ("find", find)),
            "accounting_disabled": (("history", history), ("find", find)),
            "munge_down": (("submit", submit), ("queue", queue)),
        }
        for name, (old, new) in lost.items():
            folder = self.folder / name
            folder.mkdir()
            for file in layout.slurm_conf.parent.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
            (folder / "slurm.conf").write_text(conf.replace(old, new))
            for verb, call in calls[name]:
                here = {**call.environment, "SLURM_CONF": str(folder / "slurm.conf")}
                self.keep(f"{verb}_{name}", replace(call, environment=here))

    # -- means

    def script(self, name: str, *options: str, body: str = "true") -> str:
        named = any(option.startswith("--job-name") for option in options)
        log = any(option.startswith("--output") for option in options)
        lines = [
            "#!/bin/bash",
            *(() if named else (f"#SBATCH --job-name={SLURM.job_name(name, TOKEN)}",)),
            *(() if log else ("#SBATCH --output=/dev/null",)),
            *(f'#SBATCH "{option}"' if " " in option else f"#SBATCH {option}" for option in options),
        ]
        path = self.folder / f"{name}.slurm"
        path.write_text("\n".join([*lines, "cd /", body, ""]))
        return str(path)

    def ask(self, call: Call) -> Answer:
        environment = {**self.cluster.environment, **call.environment}
        return LocalHost().run(replace(call, environment=environment))

    def keep(self, name: str, call: Call) -> None:
        self.write(name, call, self.ask(call))

    def write(self, name: str, call: Call, answer: Answer) -> None:
        here, nodes = str(self.folder), self.cluster.layout.prefix
        parts = {
            "cmd": shlex.join(call.argv) + "\n",
            "out": answer.stdout,
            "err": answer.stderr,
            "rc": f"{answer.code}\n",
        }
        for kind, text in parts.items():
            text = text.replace(here, "/tmp/jobs").replace(str(Path.cwd()), "/tmp/jobs").replace(nodes, "node")
            (HERE / f"{name}.{kind}").write_text(text)
        print(f"{name}: {answer.code} {(answer.stderr or answer.stdout).strip()[:150]!r}", flush=True)

    def submit(self, script: str) -> str:
        return SLURM.read_submit(self.ask(SLURM.submit(script)))

    def cancel(self, *ids: str) -> None:
        self.ask(SLURM.cancel(ids))

    def call(self, *argv: str) -> None:
        self.cluster.run(argv)

    def sacctmgr(self, words: str) -> None:
        self.cluster.run(["sacctmgr", "-i", *words.split()])

    def until(self, job: str, word: str, field: str = "%T") -> None:
        call = Call(("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", field))
        self.until_call(call, lambda answer: answer.stdout.strip() == word)

    def settled(self, job: str) -> None:
        def over(answer: Answer) -> bool:
            jobs = SLURM.read_queue(answer).jobs.values()
            return bool(jobs) and all(status.state.is_final for status in jobs)

        self.until_call(SLURM.queue([job]), over)

    def accounted(self, name: str, job: str) -> None:
        """Kept when the record is complete; a half-written one on the way there is kept too."""
        call = SLURM.history([job])

        def complete(answer: Answer) -> bool:
            if answer.stdout.rstrip().endswith("|allocation"):
                self.write("history_half_written", call, answer)
            jobs = SLURM.read_history(answer).jobs.values()
            named = all(status.job_name not in ("", "allocation") for status in jobs)
            return bool(jobs) and named and all(status.state.is_final for status in jobs)

        self.until_call(call, complete)
        self.keep(name, call)

    def until_call(self, call: Call, is_so: Callable[[Answer], bool]) -> None:
        deadline = time.monotonic() + 90
        while not is_so(answer := self.ask(call)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{shlex.join(call.argv)} still says {answer}")
            time.sleep(0.1)


if __name__ == "__main__":
    main()
