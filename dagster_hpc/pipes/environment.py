"""What a job needs to speak Dagster Pipes: its context as a file, and two variables that its script makes itself.

The values of the variables are absolute paths, because a program may change its directory before it opens Pipes. The
job's directory is not known before the job is claimed, and another attempt has another one: so the script, which
knows it, makes the values. They are the same text in every attempt, and so is the identity of the job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dagster_hpc.engine import jobdir
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.resources.command import Circumstances, InputFile
from dagster_hpc.resources.profile import ExecutionProfile

_HERE = "$HPC_JOB_DIR${HPC_ARRAY_INDEX:+/$HPC_ARRAY_INDEX}"  # the directory of the job, or of the element
_PRE_COMMAND = f'. "{_HERE}/{jobdir.PIPES_DIR}/{jobdir.PIPES_SETUP}"'
_PATHS = f"""\
# Where a program finds its context and leaves its messages, for Dagster Pipes. The job script reads this.
hpc_here={_HERE}
read -r hpc_life _ <"$hpc_here/{jobdir.PROTOCOL_DIR}/{jobdir.STARTED}" || return
hpc_context=$hpc_here/{jobdir.PIPES_DIR}/{jobdir.PIPES_CONTEXT}
export {jobdir.PIPES_VARIABLE}="$hpc_here/{jobdir.PIPES_DIR}/{jobdir.PIPES_MESSAGES}.$hpc_life"
(umask 077; : >>"${jobdir.PIPES_VARIABLE}") || return
"""
# A parameter of Pipes is JSON, compressed by zlib, in base64. The envelope of zlib that does not compress needs no more
# than bash: two bytes, the length twice, the text, and a checksum of two sums modulo 65521.
_PARAMETERS = r"""
hpc_bytes() { local byte; for byte; do printf "\\x$(printf %02x "$byte")"; done; }
hpc_parameter() {
  local LC_ALL=C path=${1//\\/\\\\} json byte low=1 high=0 at
  json="{\"path\": \"${path//\"/\\\"}\"}"
  for ((at = 0; at < ${#json}; at++)); do
    printf -v byte %d "'${json:at:1}"
    low=$(((low + (byte & 255)) % 65521)) high=$(((high + low) % 65521))
  done
  {
    hpc_bytes 120 1 1 $((at & 255)) $((at >> 8)) $((~at & 255)) $((~at >> 8 & 255))
    printf %s "$json"
    hpc_bytes $((high >> 8)) $((high & 255)) $((low >> 8)) $((low & 255))
  } | command -p base64 | command -p tr -d '\n'
}
"""
_VARIABLES = f"""\
DAGSTER_PIPES_CONTEXT=$(hpc_parameter "$hpc_context") || return
DAGSTER_PIPES_MESSAGES=$(hpc_parameter "${jobdir.PIPES_VARIABLE}") || return
export DAGSTER_PIPES_CONTEXT DAGSTER_PIPES_MESSAGES
"""
SETUP = _PATHS + _PARAMETERS + _VARIABLES


def pipes_files(context: Mapping[str, Any]) -> dict[str, InputFile]:
    """The files of a job, from its Pipes context. What asks (run, retry) is no part of what the job is; extras are."""
    try:
        whole, extras = json.dumps(context), json.dumps(context["extras"], sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"the extras cannot be written as JSON: {error}") from error
    return {
        jobdir.pipes_name(jobdir.PIPES_CONTEXT): Circumstances(whole.encode()),
        jobdir.pipes_name(jobdir.PIPES_EXTRAS): extras,
        jobdir.pipes_name(jobdir.PIPES_SETUP): SETUP,
    }


def with_pipes(profile: ExecutionProfile) -> ExecutionProfile:
    """The profile of a job that speaks Pipes."""
    return profile.with_overrides({"pre_commands": [_PRE_COMMAND, *profile.pre_commands]})
