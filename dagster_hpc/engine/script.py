"""JobSpec → the text of a job script. Every value that reaches a shell is quoted here, and nowhere else."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.engine.job import JobSpec, Program
from dagster_hpc.engine.jobdir import (
    COMMAND,
    DUPLICATE_EXIT_CODE,
    ELEMENTS,
    ENVIRONMENT,
    PROTOCOL_DIR,
    SCHEDULER_LOG,
    STDERR,
    STDIN,
    STDOUT,
)
from dagster_hpc.engine.launchers import launch_prefix, launcher_setup
from dagster_hpc.engine.schedulers.base import Scheduler
from dagster_hpc.engine.units import format_walltime

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = [
    "DUPLICATE_EXIT_CODE", "PROTOCOL_DIR", "SCHEDULER_LOG", "STDERR", "STDOUT", "encode", "quoting_faults",
    "render_script", "script_files", "template_text", "templates_folder",
]  # fmt: skip

# Bash dies of a warning that the program inside may want to hear, unless it has a trap; its children do not inherit it.
_SHELL = ("bash", "-eo", "pipefail", "-c", 'trap : USR1 USR2; . "$0"')
_UNDECODED = re.compile("[\udc80-\udcff]+")  # what stands for bytes that are no UTF-8
_REFERENCE = re.compile(r"""\{%[-+]?\s*(?:extends|include|import|from)\s+["']([^"']+)["']""")


def render_script(
    spec: JobSpec, scheduler: Scheduler, *, directory: str, token: str, template: str | None = None
) -> str:
    """The script of this job, to be run in this directory. `template` is a site's own in place of the packaged one."""
    from jinja2 import TemplateError

    if template and not Path(template).is_file():
        raise ConfigurationError(f"there is no job template {template}", advice="correct `template` of the target.")
    environment = _environment(str(Path(template).parent) if template else None)
    values = {
        "spec": spec,
        "scheduler": scheduler,
        "directory": directory,
        "token": token,
        "job_name": scheduler.job_name(spec.name, token),
        "log_path": scheduler.log_path(spec, directory),
        "command": command_words(spec),
        "stdin": _stdin(spec),
        # Systems that share a template share what they tell an MPI.
        "launcher_setup": launcher_setup(spec, scheduler.system),
        "walltime": format_walltime(spec.walltime_s),
    }
    name = Path(template).name if template else scheduler.template
    try:
        return environment.get_template(name).render(values)
    except (TemplateError, RecursionError) as error:
        raise ConfigurationError(
            f"the job template {template or name} cannot be rendered: {error}",
            advice="see docs/templates.md for the names that a template may use.",
        ) from error


def template_text(name: str, template: str | None = None) -> str:
    """The text of a job template and of all that it is made from, as `render_script` finds them.

    `name`: the packaged one; `template`: a site's own in its place. A file that is not there is an empty text.
    """
    from jinja2 import TemplateNotFound

    environment = _environment(str(Path(template).parent) if template else None)
    wanted, texts = [Path(template).name if template else name], dict[str, str]()
    while wanted:
        one = wanted.pop()
        try:
            texts[one] = environment.loader.get_source(environment, one)[0] if environment.loader else ""
        except TemplateNotFound:
            texts[one] = ""
        wanted += [other for other in _REFERENCE.findall(texts[one]) if other not in texts]
    return "\n".join(f"{one}\n{text}" for one, text in sorted(texts.items()))


def script_files(spec: JobSpec) -> dict[str, bytes]:
    """The files that the script reads: inline shell script, standard input, arguments of array elements, secrets."""
    files: dict[str, bytes] = {}
    if spec.shell is not None:
        files[f"{PROTOCOL_DIR}/{COMMAND}"] = encode(spec.shell if spec.shell.endswith("\n") else spec.shell + "\n")
    if spec.stdin is not None:
        files[f"{PROTOCOL_DIR}/{STDIN}"] = encode(spec.stdin)
    for index, program in enumerate(spec.programs):
        files |= _files_of_element(index, program)
    if spec.elements:
        cases = [f"{index}) {_element(spec, index)} ;;" for index in range(len(spec.elements))]
        files[f"{PROTOCOL_DIR}/{ELEMENTS}"] = encode("\n".join(['case "$HPC_ARRAY_INDEX" in', *cases, "esac", ""]))
    if spec.secret_environment:
        lines = [f"export {name}={_quote(value)}\n" for name, value in spec.secret_environment]
        files[f"{PROTOCOL_DIR}/{ENVIRONMENT}"] = encode("".join(lines))
    return files


def _files_of_element(index: int, program: Program) -> dict[str, bytes]:
    """What an element reads that runs a program of its own."""
    texts = {COMMAND: program.shell, STDIN: program.stdin}
    return {f"{index}/{PROTOCOL_DIR}/{name}": encode(text) for name, text in texts.items() if text is not None}


def _element(spec: JobSpec, index: int) -> str:
    """What this element sets in the script: its arguments; with a program of its own, all words of it, and its input."""
    arguments = quote_all(spec.elements[index])
    if not spec.programs:
        return f"set -- {arguments}"
    program = spec.programs[index]
    words = quote_all([program.executable])
    if program.shell is not None:
        words = quote_all(_SHELL) + f' "$hpc_here/{PROTOCOL_DIR}/{COMMAND}"'
    stdin = "/dev/null" if program.stdin is None else f"$hpc_here/{PROTOCOL_DIR}/{STDIN}"
    return f'set -- {words} {arguments}; hpc_stdin="{stdin}"'


def _stdin(spec: JobSpec) -> str:
    """What the payload reads, as a word of bash."""
    if spec.programs:
        return '"$hpc_stdin"'
    return "/dev/null" if spec.stdin is None else f'"$hpc_dir/{PROTOCOL_DIR}/{STDIN}"'


def command_words(spec: JobSpec) -> str:
    """The payload as one shell-quoted line, launcher first."""
    if spec.programs:
        return " ".join(word for word in (quote_all(launch_prefix(spec)), '"$@"') if word)
    if spec.shell is not None:
        words = quote_all([*launch_prefix(spec), *_SHELL]) + f' "$hpc_dir/{PROTOCOL_DIR}/{COMMAND}"'
    else:
        words = quote_all([*launch_prefix(spec), spec.executable])
    arguments = quote_all(spec.args)
    elements = '"$@"' if spec.elements else ""
    return " ".join(part for part in (words, arguments, elements) if part)


def quote_all(words: tuple[str, ...] | list[str]) -> str:
    return " ".join(_quote(word) for word in words)


def _quote(word: str) -> str:
    """For bash. Line ends are spelled out: a line that begins inside a word could be read as a scheduler's directive,
    and PBS refuses a script with DOS line ends, wherever they stand in it. So are bytes that are not UTF-8: Flux refuses
    a script that holds any."""
    plain = shlex.quote(word).replace("\r", "'$'\\r''").replace("\n", "'$'\\n''")
    return _UNDECODED.sub(lambda byte: f"'$'{_spelled(byte)}''", plain)


def _comment(line: str) -> str:
    """A line that is only to be read, in UTF-8 whatever it held."""
    return _UNDECODED.sub(_spelled, line)


def _spelled(undecoded: re.Match[str]) -> str:
    return "".join(f"\\x{ord(character) - 0xDC00:02x}" for character in undecoded[0])


def encode(text: str) -> bytes:
    """Text for a file. What came from undecodable bytes goes back to just those bytes."""
    return text.encode("utf-8", "surrogateescape")


def quoting_faults(values: Mapping[str, str]) -> list[str]:
    """Values that no shell script can carry, or that no file could be written with."""
    faults = []
    for where, value in values.items():
        if "\0" in value:
            faults.append(f"{where} contains a NUL character, which no program can be given")
        try:
            encode(value)
        except UnicodeEncodeError:
            faults.append(f"{where} contains a character that is not valid Unicode")
    return faults


def _directive(value: Any) -> str:
    """A value inside a scheduler directive: those lines know no quoting, so a newline would be a second directive."""
    text = str(value)
    if any(character in text for character in "\n\r\0"):
        raise ConfigurationError(f"{text!r} stands in a scheduler directive and may not contain a line break")
    return text


def _word(value: Any) -> str:
    """A directive value that may hold blanks, as Slurm reads them: in double quotes."""
    text = _directive(value)
    if not any(character in text for character in " \t\"'#\\"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def templates_folder() -> Path:
    """In an installed wheel the templates lie inside the package, in a checkout beside it."""
    inside = Path(__file__).parents[1] / "templates"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "templates"


@lru_cache(maxsize=32)
def _environment(site_folder: str | None) -> Environment:
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader, StrictUndefined

    packaged = FileSystemLoader(templates_folder())
    site = [FileSystemLoader(site_folder)] if site_folder else []
    environment = Environment(
        # The packaged ones also under a name of their own, for a site's slurm.sh.j2 that extends the packaged one.
        loader=ChoiceLoader([*site, packaged, PrefixLoader({"packaged": packaged})]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(
        quote=lambda value: _quote(str(value)), directive=_directive, word=_word, comment=_comment, dirname=posixpath.dirname
    )
    return environment
