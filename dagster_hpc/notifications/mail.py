"""`Mail`: messages by SMTP."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.notifications.channels import NotSent
from dagster_hpc.notifications.message import Message
from dagster_hpc.resources.env_vars import env_value
from dagster_hpc.shown_text import without_values

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_PATIENCE_S = 10.0


@dataclass(frozen=True)
class Mail:
    """Messages by mail, through an SMTP server that you may use.

    The server's certificate is checked. `security` is "starttls" (port 587), "tls" (465) or "none" (25), for a mail server
    on this machine or in a closed network. `password` is an `EnvVar`, and stands nowhere else.

    Example:
        Mail(
            to=["me@example.org"], sender="hpc@example.org", host="smtp.example.org",
            user="hpc", password=dg.EnvVar("SMTP_PASSWORD"),
        )
    """

    to: Sequence[str]
    sender: str
    host: str = "localhost"
    port: int | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        faults = [f"{each!r} is no mail address" for each in (self.sender, *_listed(self.to)) if not _is_address(each)]
        if isinstance(self.to, str):
            faults.append(f"to is the text {self.to!r}: give a list, as in ['me@example.org']")
        if not self.to:
            faults.append("to names nobody")
        if self.security not in _PORTS:
            faults.append(f"security is {self.security!r}, and not one of {', '.join(_PORTS)}")
        if self.password is not None and self.security == "none":
            faults.append("with security='none' the password would be sent in clear")
        if (self.user is None) != (self.password is None):
            faults.append("user and password are given together, or neither")
        if faults:
            raise ConfigurationError(faults, advice="correct this in Mail(…).")

    @property
    def name(self) -> str:
        return f"mail to {', '.join(self.to)}"

    def send(self, message: Message) -> None:
        password = env_value(self.password) if self.password is not None else None
        try:
            with self._connected() as server:
                if self.user is not None and password is not None:
                    server.login(self.user, password)
                server.send_message(self._mail(message))
        except (OSError, smtplib.SMTPException) as error:
            words = without_values(_words(error), [password] if password else [])
            raise NotSent(f"{self.host} did not take the mail: {words}") from error

    def _connected(self) -> smtplib.SMTP:
        port = self.port or _PORTS[self.security]
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, port, timeout=_PATIENCE_S, context=ssl.create_default_context())
        server = smtplib.SMTP(self.host, port, timeout=_PATIENCE_S)
        if self.security == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except (OSError, smtplib.SMTPException):
                server.close()
                raise
        return server

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = message.subject
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Date"] = formatdate(localtime=True)
        # The same for the same message: where it is sent twice after a crash, most mail servers keep one.
        digest = hashlib.sha256(f"{self.name}\n{message.key}".encode()).hexdigest()[:32]
        mail["Message-ID"] = f"<{digest}.dagster-hpc@{self.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # no out-of-office answers
        mail.set_content(message.text)
        return mail


def _listed(to: Sequence[str]) -> Sequence[str]:
    return () if isinstance(to, str) else to


def _is_address(text: str) -> bool:
    name, at, host = text.rpartition("@")
    return bool(name and at and host) and not any(c.isspace() or c in "<>,;" for c in text)


def _words(error: Exception) -> str:
    """The server's own words, where it said any."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{who}: {_said(*answer)}" for who, answer in error.recipients.items())
    if isinstance(error, smtplib.SMTPResponseException):
        return _said(error.smtp_code, error.smtp_error)
    return str(error) or type(error).__name__


def _said(code: int, words: bytes | str) -> str:
    return f"{code} {words.decode('utf-8', 'replace') if isinstance(words, bytes) else words}"
