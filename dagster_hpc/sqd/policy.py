"""qiskit-addon-sqd's schedule of an iteration, entered where the last iteration ended, and watched."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.sqd.npz import plain_json
from dagster_hpc.sqd.values import Iteration, Subspace

if TYPE_CHECKING:
    from qiskit_addon_sqd.fermion import SCIResult, SubspacePolicy


def policy_settings(policy: SubspacePolicy | None) -> Any:
    """What tells this policy from others: its class, and its attributes as JSON."""
    if policy is None:
        return None
    kind = type(policy)
    try:
        return [kind.__module__, kind.__qualname__, json.loads(json.dumps(vars(policy), default=plain_json))]
    except TypeError as error:
        raise ConfigurationError(
            f"the policy {kind.__qualname__} cannot be told from others: {error}",
            advice="give its attributes values that JSON knows: a loop is found again by them.",
        ) from None


class EnteredPolicy:
    """A policy whose iteration begins with the strings that the last one carried over."""

    def __init__(self, policy: SubspacePolicy, before: Iteration | None) -> None:
        self._policy, self._before = policy, before
        self.samples = 0  # different configurations that the batches are drawn from
        self._result: SCIResult | None = None
        self._carryover: Subspace | None = None

    def prepare_subspaces(self, request: Any) -> list[Subspace]:
        self.samples = len(request.bitstrings)
        if self._before:
            alpha, beta = self._before.carryover
            entered = {"carryover_strings_a": alpha, "carryover_strings_b": beta, "iteration": self._before.number}
            request = replace(request, **entered)
        prepared: list[Subspace] = self._policy.prepare_subspaces(request)
        return prepared

    def refine(self, results: list[SCIResult], round_index: int) -> list[Subspace] | None:
        refined: list[Subspace] | None = self._policy.refine(results, round_index)
        return refined

    def select_result(self, results: list[SCIResult]) -> SCIResult:
        self._result = self._policy.select_result(results)
        return self._result

    def select_carryover(self, result: SCIResult, *, symmetrize_spin: bool = False) -> Subspace:
        chosen: Subspace = self._policy.select_carryover(result, symmetrize_spin=symmetrize_spin)
        self._carryover = chosen
        return chosen

    def reported(self) -> SCIResult:
        """The answer that stands for the iteration."""
        if self._result is None:
            raise AssertionError("qiskit-addon-sqd ended its iteration without choosing a result")
        return self._result

    def chosen(self, symmetrize_spin: bool) -> Subspace:
        """The strings for the next iteration, the most important first."""
        if self._carryover is None:
            raise AssertionError("qiskit-addon-sqd ended its iteration without choosing what to carry over")
        alpha, beta = self._carryover
        if symmetrize_spin:  # what a solver has chosen by itself is not merged yet
            both = np.concatenate((alpha, beta))
            alpha = beta = both[np.sort(np.unique(both, return_index=True)[1])]
        return alpha, beta
