"""What jobs report → what Dagster's own handler of Pipes messages takes: complete, checked, each asset and check once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dagster_hpc.engine.errors import HPCError, did_you_mean
from dagster_hpc.pipes.messages import Message

_INFER = "__infer__"
_SEVERITIES = ("ERROR", "WARN")
_LONGEST_TEXT = 20_000


class PipesReportFaulty(HPCError):
    """What a job reported through Dagster Pipes is incomplete, or is not what Dagster can take."""


def reported(messages: Sequence[Message], asset_keys: Sequence[str]) -> list[Message]:
    """The results among these messages. Of what is said of one asset or check again, the later counts.

    `asset_keys`: those of the step; a message without a key means the only one.
    """
    results: dict[tuple[str, ...], Message] = {}
    for message in messages:
        method, params = message["method"], message["params"]
        if method == "report_asset_materialization":
            said = _materialization(params, asset_keys)
            key = (method, said["asset_key"])
            if key in results:
                said = _merged(results[key]["params"], said)
            results[key] = {"method": method, "params": said}
        elif method == "report_asset_check":
            said = _check(params, asset_keys)
            results[method, said["asset_key"], said["check_name"]] = {"method": method, "params": said}
        elif method == "report_custom_message":
            results[method, str(len(results))] = {"method": method, "params": {"payload": params.get("payload")}}
        elif method not in ("opened", "closed"):
            raise PipesReportFaulty(f"it sent a message {method!r}, which Dagster Pipes does not know")
    return list(results.values())


def metadata_keys(messages: Sequence[Message]) -> set[str]:
    """The names of the metadata that these results bring along."""
    return {name for message in messages for name in message["params"].get("metadata") or ()}


def _materialization(params: Mapping[str, Any], asset_keys: Sequence[str]) -> dict[str, Any]:
    key, version = _asset_key(params, asset_keys), params.get("data_version")
    if asset_keys and key not in asset_keys:
        raise PipesReportFaulty(
            f"it reported a materialization of {key!r}, which is no asset of this step: {did_you_mean(key, asset_keys)}"
        )
    return {
        "asset_key": key,
        "metadata": _metadata(params.get("metadata")),
        "data_version": None if version is None else str(version),
    }


def _check(params: Mapping[str, Any], asset_keys: Sequence[str]) -> dict[str, Any]:
    name, passed, severity = params.get("check_name"), params.get("passed"), params.get("severity") or "ERROR"
    if not isinstance(name, str) or not isinstance(passed, bool) or severity not in _SEVERITIES:
        raise PipesReportFaulty(
            f"it reported a check with check_name {name!r}, passed {passed!r} and severity {severity!r}: "
            "that is to be a text, true or false, and ERROR or WARN"
        )
    key = _asset_key(params, asset_keys)
    metadata = _metadata(params.get("metadata"))
    return {"asset_key": key, "check_name": name, "passed": passed, "severity": severity, "metadata": metadata}


def _asset_key(params: Mapping[str, Any], asset_keys: Sequence[str]) -> str:
    key = params.get("asset_key")
    if isinstance(key, str):
        return key
    if key is not None or len(asset_keys) != 1:
        known = ", ".join(asset_keys) or "none"
        raise PipesReportFaulty(f"it reported something of the asset {key!r}; the assets of this step are: {known}")
    return asset_keys[0]


def _metadata(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping | None):
        raise PipesReportFaulty(f"it reported metadata that are no object: {given!r:.80}")
    return {str(name): _value(value) for name, value in (given or {}).items()}


def _value(value: Any) -> dict[str, Any]:
    typed = isinstance(value, Mapping) and set(value) == {"raw_value", "type"}
    kind, raw = (value["type"], value["raw_value"]) if typed else (_INFER, value)
    if isinstance(raw, float) and not math.isfinite(raw):
        kind, raw = "null", None  # Dagster stores NaN without complaint, and its UI then fails to read the event
    elif kind == _INFER and isinstance(raw, Mapping | list):
        kind = "json"
    elif kind in (_INFER, "text") and isinstance(raw, str) and len(raw) > _LONGEST_TEXT:
        raw = raw[:_LONGEST_TEXT] + "…"
    return {"type": kind, "raw_value": raw}


def _merged(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    version = before["data_version"] if after["data_version"] is None else after["data_version"]
    return {**after, "metadata": {**before["metadata"], **after["metadata"]}, "data_version": version}
