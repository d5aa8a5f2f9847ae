"""`build_hpc_notification_sensor`: tells people of jobs, by the channels that they read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import dagster as dg
from dagster._core.definitions.events import CoercibleToAssetKey

from dagster_hpc.engine.clock import SYSTEM_CLOCK
from dagster_hpc.engine.errors import ConfigurationError, did_you_mean
from dagster_hpc.notifications.channels import Channel
from dagster_hpc.notifications.occasions import KINDS, Kind, Limits
from dagster_hpc.notifications.sending import Desk
from dagster_hpc.resources.job_runner import HPCJobRunner
from dagster_hpc.sensors.ended_job import Wanted
from dagster_hpc.sensors.watcher import watcher_of

_POLL_S = 15.0  # Dagster gives an evaluation 60 s
_SEND_S = 30.0  # all channels together


def build_hpc_notification_sensor(
    name: str = "hpc_notifications",
    *,
    channels: Sequence[Channel],
    on: Sequence[Kind] = ("failed", "stuck", "near_walltime"),
    runner: str = "hpc",
    assets: Sequence[CoercibleToAssetKey] | None = None,
    names: Sequence[str] | None = None,
    walltime_share: float = 0.9,
    late_after_s: float = 6 * 3600.0,
    webserver_url: str | None = None,
    minimum_interval_seconds: int = 30,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """A sensor that writes to people when something happens to jobs: of assets, detached or not, and of plain scripts.

    It reads the ledger. Each channel is told each thing once, beginning with what happens after it was switched on for the
    first time. A channel that is down is tried again, and keeps no other waiting. The elements of an array are one
    message; of much that happens at once there is one summary.

    Args:
        name: Of the sensor.
        channels: `Mail` and `Webhook`.
        on: "failed": ended badly; "succeeded": ended well; "stuck": it can never start as it is; "near_walltime": it may
            not be finished in time; "late": it still waits, or began after a long wait.
        runner: Resource key of the `HPCJobRunner` whose jobs it tells of.
        assets: Only jobs of these assets.
        names: Only jobs with such names, as in `md-*`.
        walltime_share: "near_walltime" is told when a job that runs has used so much of its walltime.
        late_after_s: "late" is told after so long in the queue.
        webserver_url: Of Dagster's page, for links to runs.
        minimum_interval_seconds: Between two looks.
        default_status: Whether it is switched on when it is first seen.

    Example:
        notifications = build_hpc_notification_sensor(
            channels=[
                Mail(to=["me@example.org"], sender="hpc@example.org", security="none"),
                Webhook(dg.EnvVar("SLACK_URL")),
            ],
            on=["failed", "stuck"],
        )
    """
    _refuse_unknown(on, channels)
    wanted, limits = Wanted.of(assets, names), Limits(walltime_share, late_after_s)

    @dg.sensor(
        name=name,
        required_resource_keys={runner},
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Writes to people: {', '.join(channel.name for channel in channels)}.",
    )
    def notify(context: dg.SensorEvaluationContext, **resources: Any) -> dg.SkipReason:
        hpc: HPCJobRunner = getattr(context.resources, runner)
        engine = hpc.polled(_POLL_S)
        if not engine.is_identified:
            return dg.SkipReason(f"{engine.target.name} does not say yet which cluster it is")
        desk, sensor = Desk(engine, on, wanted, limits, webserver_url), watcher_of(context)
        said: dict[str, str] = {}

        def serve(channel: Channel) -> None:
            said[channel.name] = desk.serve(channel, f"{sensor}: {channel.name}")

        for channel in channels:
            said[channel.name] = f"{channel.name}: it takes long, and goes on"
            SYSTEM_CLOCK.within(_SEND_S / len(channels), partial(serve, channel))
        news = [words for words in said.values() if words]
        for words in news:
            context.log.info(words)
        return dg.SkipReason("; ".join(news) or "nothing new to tell")

    return notify


def _refuse_unknown(on: Sequence[str], channels: Sequence[Channel]) -> None:
    faults = [f"on names {kind!r}: {did_you_mean(kind, list(get_args(Kind)))}" for kind in on if kind not in KINDS]
    names = [channel.name for channel in channels]
    faults += [f"channels has {name!r} twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if not channels:
        faults.append("channels is empty: nobody would be told")
    if faults:
        raise ConfigurationError(faults, advice="correct this where the sensor is built.")
