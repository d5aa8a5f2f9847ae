"""Each channel is told each thing once, whatever happens to the daemon or to the other channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc import (
    Command,
    ConfigurationError,
    ExecutionProfile,
    HPCJobRunner,
    JobFailed,
    Mail,
    Webhook,
    build_hpc_notification_sensor,
)
from dagster_hpc.notifications.channels import NotSent
from dagster_hpc.notifications.message import Message
from tests.definitions.dagster_home import DagsterHome
from tests.notifications.servers import MailServer, WebServer
from tests.sensors.conftest import Watch
from tests.systems.daemon import wait_until


@dataclass
class Letterbox:
    """A channel to this test, which may be down, or die after a message has left."""

    name: str = "letterbox"
    received: list[Message] = field(default_factory=list)
    down: bool = False
    dies: bool = False

    def send(self, message: Message) -> None:
        if self.down:
            raise NotSent("nobody is at home")
        self.received.append(message)
        if self.dies:
            raise SystemExit("killed before it could note that")

    @property
    def subjects(self) -> list[str]:
        return [message.subject for message in self.received]


@pytest.fixture
def box() -> Letterbox:
    return Letterbox()


def switched_on(watch: Watch, *channels: Any, **options: Any) -> Watch:
    watch.sensor = build_hpc_notification_sensor(channels=channels, **options)
    watch.look()
    return watch


def fail(hpc: HPCJobRunner, name: str = "md-1", script: str = "echo no such file >&2; exit 3") -> None:
    with pytest.raises(JobFailed):
        hpc.run(Command.shell(script, name=name), profile="small")


def test_a_job_of_a_script_that_failed_is_told_once(watch: Watch, hpc: HPCJobRunner, box: Letterbox) -> None:
    watching = switched_on(watch, box)
    fail(hpc)
    watching.look()
    watching.look()
    (message,) = box.received
    assert message.subject == "[local] md-1 ended as FAILED, exit code 3"
    assert "Last lines of stderr\n  no such file" in message.text
    assert watching.said[-2:] == ["letterbox: 1 sent", "nothing new to tell"]


def test_what_failed_before_it_was_switched_on_is_old(watch: Watch, hpc: HPCJobRunner, box: Letterbox) -> None:
    fail(hpc)
    watching = switched_on(watch, box)
    watching.look()
    assert box.received == []
    assert watching.said[0] == "letterbox: begins with what happens from now on"


def test_what_ends_well_is_told_to_those_who_ask_for_it(watch: Watch, hpc: HPCJobRunner, box: Letterbox) -> None:
    watching = switched_on(watch, box, on=["succeeded"])
    fail(hpc)
    hpc.run(Command.shell("true", name="fine"), profile="small")
    watching.look()
    assert box.subjects == ["[local] fine ended well"]


def test_an_array_is_one_message(watch: Watch, hpc: HPCJobRunner, box: Letterbox) -> None:
    watching = switched_on(watch, box)
    hpc.map(Command.shell('exit "$1"', name="sweep"), [["0"], ["1"], ["2"]], profile="small")
    watching.look()
    assert box.subjects == ["[local] sweep: 2 of 3 elements ended badly"]


def test_much_at_once_is_one_summary(watch: Watch, hpc: HPCJobRunner, box: Letterbox) -> None:
    watching = switched_on(watch, box)
    for number in range(6):
        fail(hpc, f"md-{number}", "exit 1")
    watching.look()
    watching.look()
    assert box.subjects == ["HPC jobs: 6 failed"]
    assert len(box.received[0].text.splitlines()) == 6


def test_a_channel_that_is_down_is_told_later_and_keeps_no_other_waiting(
    watch: Watch, hpc: HPCJobRunner, box: Letterbox
) -> None:
    broken = Letterbox("broken", down=True)
    watching = switched_on(watch, broken, box)
    fail(hpc)
    watching.look()
    assert len(box.received) == 1
    assert "broken: 1 not sent, nobody is at home; tried again at the next look" in watching.said[-1]
    broken.down = False
    watching.look()
    watching.look()
    assert (len(broken.received), len(box.received)) == (1, 1)


def test_a_daemon_that_dies_while_it_sends_sends_the_same_message_again(
    watch: Watch, hpc: HPCJobRunner, box: Letterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = switched_on(watch, box)
    fail(hpc)
    box.dies = True
    with pytest.raises(SystemExit):
        watching.look()
    box.dies = False
    watching.look()
    assert len(box.received) == 1  # somebody may still be at it
    monkeypatch.setattr("dagster_hpc.engine.ledger.notices._SILENT_S", -60.0)
    watching.look()
    first, again = box.received
    assert first.key == again.key
    watching.look()
    assert len(box.received) == 2


def test_a_job_near_its_walltime_is_told_while_it_runs_and_once(
    watch: Watch, hpc: HPCJobRunner, box: Letterbox
) -> None:
    watching = switched_on(watch, box, walltime_share=0.0)
    handle = hpc.submit(Command.shell("echo step 1; sleep 600", name="md-1"), profile="small")

    def told() -> bool:
        watching.look()
        return bool(box.received)

    wait_until(told, 60, lambda: str((watching.said, hpc.jobs())))
    watching.look()
    (message,) = box.received
    assert message.kind == "near_walltime"
    assert message.subject.startswith("[local] md-1 comes to the end of its walltime in ")
    hpc.cancel(handle)
    watching.look()
    assert len(box.received) == 1  # cancelled on purpose


def test_only_some_jobs_are_told_of(watch: Watch, hpc: HPCJobRunner, box: Letterbox) -> None:
    watching = switched_on(watch, box, names=["md-*"])
    fail(hpc, "md-1")
    fail(hpc, "other")
    watching.look()
    assert box.subjects == ["[local] md-1 ended as FAILED, exit code 3"]


def test_a_password_that_is_not_set_keeps_no_other_channel_waiting(
    watch: Watch, hpc: HPCJobRunner, box: Letterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_HOOK", raising=False)
    watching = switched_on(watch, Webhook(dg.EnvVar("NO_SUCH_HOOK")), box)
    fail(hpc)
    watching.look()
    assert len(box.received) == 1
    assert "the environment variable NO_SUCH_HOOK is not set" in watching.said[-1]


def test_a_secret_of_a_profile_is_in_no_message(
    watch: Watch, hpc: HPCJobRunner, box: Letterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB", "swordfish-17")
    profiles = {"small": ExecutionProfile(environments={"DB": dg.EnvVar("DB")})}
    watch.hpc = HPCJobRunner(
        target=hpc.target, profiles=profiles, work_root=hpc.work_root, ledger_url=hpc.ledger_url
    )
    watching = switched_on(watch, box)
    fail(watch.hpc, script="echo connected with $DB; exit 1")
    watching.look()
    assert "connected with ***" in box.received[0].text


def test_what_is_unknown_is_refused_where_the_sensor_is_built() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        build_hpc_notification_sensor(channels=[], on=["failure"])  # type: ignore[list-item]
    assert len(wrong.value.faults) == 2
    assert "failed" in wrong.value.faults[0]


PIPELINE = """
import dagster as dg
from dagster_hpc import (
    Command, ExecutionProfile, HPCJobRunner, LocalTarget, Mail, Webhook, build_hpc_notification_sensor,
    build_job_ended_sensor, hpc_asset,
)

@hpc_asset(profile="small", detached=True)
def trajectory() -> Command:
    return Command.shell("echo no such file >&2; exit 3")

@dg.asset
def overview(context: dg.AssetExecutionContext) -> None:
    pass

defs = dg.Definitions(
    assets=[trajectory, overview],
    sensors=[
        build_hpc_notification_sensor(
            channels=[
                Mail(to=["me@example.org"], sender="hpc@example.org", port={port}, security="none"),
                Webhook({url!r}),
            ],
            minimum_interval_seconds=1,
        ),
        build_job_ended_sensor(target=overview, states=["FAILED"], minimum_interval_seconds=1),
    ],
    resources={{"hpc": HPCJobRunner(
        target=LocalTarget(spool={spool!r}, poll_interval=0.5), profiles={{"small": ExecutionProfile()}}, work_root={work!r}
    )}},
)
"""


def test_under_a_real_daemon_a_detached_job_that_fails_is_mailed_posted_and_followed_by_a_run(
    tmp_path: Path, smtp: MailServer, web: WebServer
) -> None:
    home, file = DagsterHome(tmp_path / "home"), tmp_path / "pipeline.py"
    spool, work = str(tmp_path / "spool"), str(tmp_path / "work")
    file.write_text(PIPELINE.format(port=smtp.port, url=web.url, spool=spool, work=work))
    for name in ("hpc_notifications", "hpc_job_ended"):
        home.run("dagster", "sensor", "start", name, "-f", str(file))
    with home.instance() as instance, home.running("dagster-daemon", "run", "-f", str(file), ready=lambda: True):

        def has_begun() -> bool:
            ticks = [instance.get_ticks(state.instigator_origin_id, state.selector_id) for state in states()]
            return len(ticks) == 2 and all(any(tick.status.value == "SKIPPED" for tick in each) for each in ticks)

        def states() -> list[Any]:
            return list(instance.all_instigator_state())

        wait_until(has_begun, 120, lambda: str(states()))
        home.run("dagster", "asset", "materialize", "-f", str(file), "--select", "trajectory")

        def runs() -> list[dg.DagsterRun]:
            return list(instance.get_runs(dg.RunsFilter(tags={"dagster/sensor_name": "hpc_job_ended"})))

        wait_until(
            lambda: bool(smtp.received and web.received and runs()), 120, lambda: f"{home.jobs()} {smtp} {web} {runs()}"
        )
        (run,) = runs()
    (job,) = home.jobs()
    assert run.tags["dagster_hpc/token"] == job.token
    (mail,) = smtp.received
    assert mail["Subject"] == "[local] trajectory ended as FAILED, exit code 3"
    assert "no such file" in mail.get_content()
    ((_, body),) = web.received
    assert job.token in body["text"]


def test_mail_and_webhook_are_channels(smtp: MailServer) -> None:
    mail = Mail(to=["me@example.org"], sender="hpc@example.org", port=smtp.port, security="none")
    sensor = build_hpc_notification_sensor(channels=[mail, Webhook("https://example.org/x")])
    assert "mail to me@example.org, webhook example.org" in (sensor.description or "")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
