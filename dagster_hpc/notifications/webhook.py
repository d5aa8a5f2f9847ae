"""`Webhook`: messages as a JSON POST, as chats and push services take them."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import dagster as dg

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.notifications.channels import NotSent
from dagster_hpc.notifications.message import Message
from dagster_hpc.resources.env_vars import env_value
from dagster_hpc.shown_text import shortened, without_values

_PATIENCE_S = 10.0
_LONGEST_ANSWER = 300
_PLACE = re.compile(r"\{(kind|subject|text|token)\}")


@dataclass(frozen=True)
class Webhook:
    """Messages to a chat or a push service: a JSON object by POST.

    As it is, it suits Slack, Mattermost, Rocket.Chat and Teams: `{"text": …}`. Others get a `payload` of their own, in which
    `{subject}`, `{text}`, `{kind}` and `{token}` are filled in. The `url` of a chat lets anybody write into it: give an
    `EnvVar`.

    Example:
        Webhook(dg.EnvVar("SLACK_URL"))
        Webhook(
            "https://ntfy.sh",
            payload={"topic": "my-jobs", "title": "{subject}", "message": "{text}"},
            headers={"Authorization": dg.EnvVar("NTFY_AUTHORIZATION")},
        )
    """

    url: str = field(repr=False)
    payload: Mapping[str, Any] = field(default_factory=lambda: {"text": "{subject}\n```\n{text}\n```"})
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.url, dg.EnvVar):
            _check(self.url)

    @property
    def name(self) -> str:
        if isinstance(self.url, dg.EnvVar):
            return f"webhook {self.url.env_var_name}"
        return f"webhook {urlsplit(self.url).hostname} {hashlib.sha256(self.url.encode()).hexdigest()[:8]}"

    def send(self, message: Message) -> None:
        url = _check(env_value(self.url))
        headers = {name: env_value(value) for name, value in self.headers.items()}
        body = json.dumps(_filled(self.payload, message)).encode()
        secrets = [url, urlsplit(url).path, *headers.values()]
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers}, method="POST")
            with _OPENER.open(request, timeout=_PATIENCE_S):
                return
        except urllib.error.HTTPError as error:
            said = shortened(error.read(4096).decode("utf-8", "replace").strip(), _LONGEST_ANSWER)
            words = f"{error.code} {error.reason}{f': {said}' if said else ''}"
            raise NotSent(f"{_host(url)} did not take the message: {without_values(words, secrets)}") from error
        except (OSError, ValueError) as error:
            raise NotSent(f"{_host(url)} cannot be reached: {without_values(str(error), secrets)}") from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST that is sent elsewhere arrives there as a GET without its message."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def _filled(value: Any, message: Message) -> Any:
    """The payload with the message in its places, however deep they are."""
    if isinstance(value, str):
        return _PLACE.sub(lambda place: str(getattr(message, place[1])), value)
    if isinstance(value, Mapping):
        return {key: _filled(entry, message) for key, entry in value.items()}
    return [_filled(entry, message) for entry in value] if isinstance(value, list | tuple) else value


def _check(url: str) -> str:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ConfigurationError("the url of a webhook begins with https:// (or http://) and a host")
    return url


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the webhook"
