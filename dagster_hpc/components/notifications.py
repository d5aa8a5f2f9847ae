"""WHO HEARS OF IT in a `defs.yaml`: mails and webhooks about the jobs of the file."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import dagster as dg
from pydantic import Field

from dagster_hpc.components.place import filled_in
from dagster_hpc.notifications import Mail, Webhook, build_hpc_notification_sensor
from dagster_hpc.notifications.channels import Channel
from dagster_hpc.notifications.occasions import Kind

_USUAL: Sequence[Kind] = ("failed", "stuck", "near_walltime")


class FromEnvironment(dg.Model):
    """A value that is read when it is needed, and stands nowhere else."""

    env: str = Field(description="Name of the variable of the environment.", examples=["SLACK_URL"])


class MailModel(dg.Model):
    """Mails through an SMTP server."""

    to: list[str] = Field(description="Who gets them.", examples=[["me@example.org"]])
    sender: str = Field(description="From whom they come.", examples=["hpc@example.org"])
    host: str = Field(default="localhost", description="The SMTP server.", examples=["smtp.example.org"])
    port: int | None = Field(default=None, description="Its port; default: that of `security`.")
    security: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is kept private."
    )
    user: str | None = Field(default=None, description="Who logs in there.")
    password: FromEnvironment | None = Field(
        default=None, description="With which password.", examples=[{"env": "SMTP_PASSWORD"}]
    )


class WebhookModel(dg.Model):
    """A JSON POST, as chats and push services take it."""

    url: str | FromEnvironment = Field(
        description="Where it goes. That of a chat is a secret: take it from the environment.",
        examples=[{"env": "SLACK_URL"}],
    )
    payload: dict[str, Any] | None = Field(
        default=None,
        description="The object that is sent, with {subject}, {text}, {kind} and {token} filled in; default: as for Slack.",
        examples=[{"topic": "my-jobs", "title": "{subject}", "message": "{text}"}],
    )
    headers: dict[str, str | FromEnvironment] = Field(default={}, description="Headers of the request.")


class NotificationsModel(dg.Model):
    """Messages about the jobs of this file."""

    when: list[Kind] = Field(
        default=list(_USUAL),
        description="failed: ended badly; succeeded: ended well; stuck: can never start; near_walltime: may not be finished "
        "in time; late: waits long.",
    )
    mail: MailModel | None = Field(default=None, description="By mail.")
    webhook: WebhookModel | None = Field(default=None, description="To a chat or a push service.")
    webserver_url: str | None = Field(default=None, description="Of Dagster's page, for links to runs.")


@dataclass(frozen=True)
class Notifications:
    """What is told, and by which channels."""

    channels: Sequence[Channel]
    when: Sequence[Kind] = _USUAL
    webserver_url: str | None = None

    def sensor(self, name: str, assets: Sequence[dg.AssetKey], runner: str) -> dg.SensorDefinition:
        """The sensor that tells it. Who has written down whom to tell has switched it on."""
        return build_hpc_notification_sensor(
            name,
            channels=self.channels,
            on=self.when,
            assets=assets,
            runner=runner,
            webserver_url=self.webserver_url,
            default_status=dg.DefaultSensorStatus.RUNNING,
        )


def _notifications(context: dg.ResolutionContext, model: Any) -> Notifications | None:
    if model is None or isinstance(model, Notifications):
        return model
    said: dict[str, Any] = _with_variables(filled_in(context, model))
    makers: Mapping[str, Any] = {"mail": Mail, "webhook": Webhook}
    channels = [make(**said.pop(name)) for name, make in makers.items() if name in said]
    return Notifications(channels, **said)


def _with_variables(value: Any) -> Any:
    """`{env: NAME}`, wherever it stands, as Dagster's EnvVar."""
    if isinstance(value, Mapping):
        if list(value) == ["env"]:
            return dg.EnvVar(value["env"])
        return {key: _with_variables(each) for key, each in value.items()}
    return value


NotificationsField: TypeAlias = Annotated[
    Notifications | None,
    dg.Resolver(
        _notifications,
        model_field_type=NotificationsModel,
        description="Who is told when a job of this file fails, can never start, or may not be finished in time.",
        examples=[{"mail": {"to": ["me@example.org"], "sender": "hpc@example.org", "host": "smtp.example.org"}}],
    ),
]
