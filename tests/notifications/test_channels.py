"""Mail against a real SMTP server, webhooks against a real HTTP server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from dagster_hpc import ConfigurationError, Mail, Webhook
from dagster_hpc.notifications.channels import NotSent
from dagster_hpc.notifications.message import Message
from tests.notifications.servers import PASSWORD, USER, MailServer, WebServer

MESSAGE = Message("failed", "[slurm] naïve ended as FAILED", "Why  it said “no”\n\n  last line", "failed k7m2", "k7m2")


def plain(server: MailServer, **options: object) -> Mail:
    mail = Mail(to=["me@example.org", "you@example.org"], sender="hpc@example.org", port=server.port, security="none")
    return replace(mail, **options)


def test_a_mail_arrives_as_it_was_written(smtp: MailServer) -> None:
    plain(smtp).send(MESSAGE)
    (mail,) = smtp.received
    assert mail["Subject"] == MESSAGE.subject
    assert (mail["From"], mail["To"]) == ("hpc@example.org", "me@example.org, you@example.org")
    assert mail.get_content().splitlines() == MESSAGE.text.splitlines()
    assert mail["Auto-Submitted"] == "auto-generated"


def test_a_mail_that_is_sent_twice_is_one_to_those_who_get_it(smtp: MailServer) -> None:
    plain(smtp).send(MESSAGE)
    plain(smtp).send(MESSAGE)
    plain(smtp).send(replace(MESSAGE, key="another"))
    first, second, other = (mail["Message-ID"] for mail in smtp.received)
    assert first == second != other


def test_a_mail_goes_through_starttls_with_a_password(
    smtp_with_password: MailServer, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    mail = plain(smtp_with_password, security="starttls", user=USER, password=dg.EnvVar("SMTP_PASSWORD"))
    mail.send(MESSAGE)
    assert len(smtp_with_password.received) == 1
    assert PASSWORD not in repr(mail)


def test_a_server_whose_certificate_nobody_vouches_for_gets_no_password(smtp_with_password: MailServer) -> None:
    mail = plain(smtp_with_password, security="starttls", user=USER, password=PASSWORD)
    with pytest.raises(NotSent, match="certificate"):
        mail.send(MESSAGE)
    assert smtp_with_password.received == []


def test_a_wrong_password_is_told_in_the_servers_words(
    smtp_with_password: MailServer, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with pytest.raises(NotSent, match=r"535 5\.7\.8 Authentication credentials invalid") as refused:
        plain(smtp_with_password, security="starttls", user=USER, password="battery staple").send(MESSAGE)
    assert "battery staple" not in str(refused.value)


def test_a_server_that_is_down_is_told(port: int) -> None:
    with pytest.raises(NotSent, match=r"localhost did not take the mail: .*refused"):
        plain(MailServer(port=port)).send(MESSAGE)


def test_who_does_not_exist_is_told_in_the_servers_words(smtp: MailServer) -> None:
    smtp.refuses = "me@example.org"
    with pytest.raises(NotSent, match=r"me@example\.org: 550 no such user here"):
        plain(smtp, to=["me@example.org"]).send(MESSAGE)


def test_all_that_is_wrong_with_a_mail_channel_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        Mail(to=["me"], sender="hpc@example.org\nBcc: all@example.org", security="none", password="x")
    assert len(wrong.value.faults) == 4


def test_a_webhook_posts_text_as_chats_take_it(web: WebServer) -> None:
    Webhook(web.url).send(MESSAGE)
    ((headers, body),) = web.received
    assert headers["Content-Type"] == "application/json"
    assert body == {"text": f"{MESSAGE.subject}\n```\n{MESSAGE.text}\n```"}


def test_a_webhook_fills_any_payload_and_sends_any_header(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "Bearer abc")
    payload = {"topic": "jobs", "title": "{subject}", "parts": [{"text": "{kind} {token} {other}"}], "priority": 3}
    Webhook(web.url, payload, {"Authorization": dg.EnvVar("TOKEN")}).send(MESSAGE)
    ((headers, body),) = web.received
    assert headers["Authorization"] == "Bearer abc"
    assert body == {
        "topic": "jobs", "title": MESSAGE.subject, "parts": [{"text": "failed k7m2 {other}"}], "priority": 3,
    }  # fmt: skip


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_webhook_that_says_no_is_told_without_its_address(web: WebServer, status: int) -> None:
    web.status, web.words = status, "no_such_channel"
    with pytest.raises(NotSent, match=f"localhost did not take the message: {status}.*no_such_channel") as refused:
        Webhook(web.url).send(MESSAGE)
    assert "secret-path" not in str(refused.value)
    assert "secret-path" not in Webhook(web.url).name + repr(Webhook(web.url))
    assert len(web.received) == 1  # and nobody followed it elsewhere


def test_a_webhook_that_is_down_is_told(port: int) -> None:
    with pytest.raises(NotSent, match=r"localhost cannot be reached: .*refused"):
        Webhook(f"http://localhost:{port}/x").send(MESSAGE)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "example.org/hook", "https://"])
def test_a_webhook_has_the_address_of_a_web_server(url: str) -> None:
    with pytest.raises(ConfigurationError, match="begins with https://"):
        Webhook(url)


def test_an_address_from_the_environment_is_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "file:///etc/passwd")
    with pytest.raises(ConfigurationError, match="begins with https://"):
        Webhook(dg.EnvVar("HOOK")).send(MESSAGE)
