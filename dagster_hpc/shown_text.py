"""Text that comes from jobs, made fit to be shown: without secrets, without control characters, of bounded length.

What a job prints and what a scheduler reports is kept in Dagster's event log, copied from there and shown in a browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"

_SECRET_WORDS = (
    "PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", r"TOKEN(?!S|IZ)", "CREDENTIAL", "API_?KEY", "ACCESS_?KEY",
    "PRIVATE_?KEY",
)  # fmt: skip
_OWN_NAME = "HPC_JOB_TOKEN"  # by which a job is found: no secret
_NAME = rf"(?<![\w.-])[\w.-]{{0,64}}?(?:{'|'.join(_SECRET_WORDS)})[\w.-]{{0,64}}"
_VALUE = r"""(?:'[^'\n]*'|"(?:\\.|[^"\\\n])*"|\\.|[^\s'",;&|<>()\\])+"""
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_EXPORTED = re.compile(rf"^export (?P<name>{_NAME})(?P<sign>=).+$", re.IGNORECASE | re.MULTILINE)
_GIVEN = re.compile(rf"""(?P<name>{_NAME})(?P<sign>=|["']\s{{0,9}}:\s{{0,9}}|[ \t]{{1,9}}){_VALUE}""", re.IGNORECASE)
_ADDRESS = re.compile(r"(\b\w{1,20}://[^\s/:@]{0,200}:)[^\s/@]{1,500}@")
_BEARER = re.compile(r"\b(Bearer|Basic)([ \t]{1,9})[\w.~+/=-]{8,}", re.IGNORECASE)
_KEY_FILE = re.compile(r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL)
_SHORTEST_SECRET = 4  # a shorter value would be found, and hidden, everywhere

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\n])", re.MULTILINE)  # of a progress bar its last state remains
# Control characters, those that turn the direction of writing, and halves of characters, which no database takes.
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def readable(words: str) -> str:
    """The text as a terminal would show it at the end: without colours, bells and what was overwritten.

    Example:
        >>> readable("\\x1b[31mred\\x1b[0m, 10 %\\r20 %")
        '20 %'
    """
    plain = _ESCAPES.sub("", words).replace("\r\n", "\n")
    return _UNFIT.sub("", _OVERWRITTEN.sub("", plain))


def masked(words: str) -> str:
    """The text without passwords: those of variables, options and fields whose names sound secret, and those in URLs.

    Values given as EnvVar stand in no script at all; this is for those that were written into a profile as text, or
    that a program prints.

    Example:
        >>> masked("export DB_PASSWORD=hunter2")
        'export DB_PASSWORD=***'
    """
    words = _EXPORTED.sub(_without_value, words)
    words = _GIVEN.sub(_without_value, words)
    words = _KEY_FILE.sub(rf"\1\n{MASK}\n\2", words)
    words = _BEARER.sub(rf"\1\2{MASK}", words)
    return _ADDRESS.sub(rf"\1{MASK}@", words)


def sounds_secret(name: str) -> bool:
    """Whether the value of a variable of this name is to be masked."""
    return _SECRET_NAME.fullmatch(name) is not None and name != _OWN_NAME


def without_values(words: str, secrets: Iterable[str]) -> str:
    """The text with these very values masked, wherever they stand in it.

    Example:
        >>> without_values("login with hunter2", ["hunter2"])
        'login with ***'
    """
    for value in sorted(secrets, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            words = words.replace(value, MASK)
    return words


def shortened(words: str, longest: int) -> str:
    """The beginning of a text that is too long, and how much is not shown.

    Example:
        >>> shortened("node[1-5000]", 6)
        'node[1… (6 more characters)'
    """
    left_out = len(words) - longest
    return words if left_out <= 0 else f"{words[:longest]}… ({left_out} more characters)"


def beginning_and_end(words: str, longest: int) -> str:
    """A text that is too long without its middle, as of a script: directives first, the command last."""
    if len(words) <= longest:
        return words
    half = longest // 2
    return f"{words[:half]}\n… ({len(words) - 2 * half} characters are left out)\n{words[-half:]}"


def ending(words: str, longest: int) -> str:
    """The end of a text that is too long, as of a log: where the error message stands."""
    return words if len(words) <= longest else "…\n" + words[-longest:]


def _without_value(given: re.Match[str]) -> str:
    name, sign = given["name"], given["sign"]
    if name == _OWN_NAME or (sign.isspace() and not name.startswith("-")):  # "--token abc", but not "a secret place"
        return given[0]
    return given[0][: given.end("sign") - given.start()] + MASK
