"""Who is told of the jobs of a `defs.yaml`."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.definitions.sensor_definition import SensorExecutionData

from tests.components.project import Project, run
from tests.components.test_faults import complaint
from tests.notifications.conftest import port as port
from tests.notifications.conftest import smtp as smtp
from tests.notifications.conftest import web as web
from tests.notifications.servers import MailServer, WebServer

FAILS = """
  jobs:
    - asset: energies
      script: |
        echo no such molecule >&2
        exit 3
"""


def look(definitions: dg.Definitions, instance: dg.DagsterInstance) -> SensorExecutionData:
    """One evaluation of the file's sensor, as the daemon makes it."""
    (sensor,) = definitions.sensors or []
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, resources=definitions.resources or {}, sensor_name=sensor.name
    ) as context:
        return definitions.resolve_sensor_def(sensor.name).evaluate_tick(context)


def test_people_are_told_by_mail_and_webhook_of_a_job_that_failed(
    project: Project, instance: dg.DagsterInstance, smtp: MailServer, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_URL", web.url)
    project.write(
        f"""
  notifications:
    when: [failed]
    mail: {{to: [me@example.org], sender: hpc@example.org, port: {smtp.port}, security: none}}
    webhook: {{url: {{env: CHAT_URL}}}}
"""
        + FAILS
    )
    definitions = project.load()
    look(definitions, instance)  # it begins with what happens from now on
    run(definitions, instance, ok=False)
    look(definitions, instance)
    look(definitions, instance)
    (mail,) = smtp.received
    assert "energies" in mail["Subject"]
    assert "no such molecule" in mail.get_content()
    ((_, posted),) = web.received
    assert "no such molecule" in posted["text"]


def test_nobody_is_told_where_nothing_is_said_of_it(project: Project) -> None:
    project.write(FAILS)
    assert not project.load().sensors


def test_a_channel_that_cannot_be_is_an_error_with_its_line(project: Project) -> None:
    path = project.write("notifications:\n  mail: {to: [nobody], sender: hpc@example.org}\n" + FAILS.replace("\n  ", "\n"))
    said = complaint(project)
    assert "'nobody' is no mail address" in said
    assert f"{path}:" in said
