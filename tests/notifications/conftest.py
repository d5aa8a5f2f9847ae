"""Servers that take messages, a Dagster and a runner on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.detached.conftest import instance as instance
from tests.notifications.servers import MailServer, WebServer, certificate_in, mail_server, web_server
from tests.resources.conftest import hpc as hpc
from tests.sensors.conftest import Watch
from tests.sensors.conftest import watch as watch


@pytest.fixture
def port() -> int:
    """One that is free."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def smtp(port: int) -> Iterator[MailServer]:
    """As on a login node: without TLS, without a password."""
    with mail_server(port) as server:
        yield server


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_in(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def smtp_with_password(port: int, certificate: tuple[Path, Path]) -> Iterator[MailServer]:
    with mail_server(port, certificate) as server:
        yield server


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


__all__ = ["Watch"]
