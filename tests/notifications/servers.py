"""Real servers that keep what they are sent: SMTP with and without TLS, and HTTP."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword, Session

USER, PASSWORD = "hpc", "correct horse"


@dataclass
class MailServer:
    """An SMTP server on this machine. `refuses`: who does not exist here."""

    received: list[EmailMessage] = field(default_factory=list)
    refuses: str = ""
    port: int = 0

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if address == self.refuses:
            return "550 no such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        mail = message_from_bytes(cast(bytes, envelope.content), policy=policy.default)
        self.received.append(cast(EmailMessage, mail))
        return "250 taken"


@contextmanager
def mail_server(port: int, certificate: tuple[Path, Path] | None = None) -> Iterator[MailServer]:
    """With a certificate it takes nothing before STARTTLS, and nothing without the password."""
    server = MailServer(port=port)
    options: dict[str, Any] = {}
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        options = {
            "tls_context": context, "require_starttls": True, "auth_required": True, "authenticator": _knows,
        }  # fmt: skip
    controller = Controller(server, hostname="localhost", port=port, **options)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()


def _knows(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
    known = isinstance(given, LoginPassword) and (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=known, handled=False)  # the server itself says no


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@dataclass
class WebServer:
    """An HTTP server that answers every POST with `status`."""

    url: str = ""
    status: int = 200
    words: str = "ok"
    received: list[tuple[dict[str, str], Any]] = field(default_factory=list)


@contextmanager
def web_server() -> Iterator[WebServer]:
    web = WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            web.received.append((dict(self.headers), body))
            self.send_response(web.status)
            if web.status == 302:
                self.send_header("Location", web.url)
            self.end_headers()
            self.wfile.write(web.words.encode())

        def log_message(self, *arguments: Any) -> None: ...

    server = ThreadingHTTPServer(("localhost", 0), Handler)
    web.url = f"http://localhost:{server.server_port}/services/T0/secret-path"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
