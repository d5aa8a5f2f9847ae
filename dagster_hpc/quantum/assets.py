"""`build_quantum_assets`: a quantum job as two assets, one that is there once it is submitted, one once it is measured."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the assets, some of which are made below.

import inspect
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, cast

import dagster as dg
from pydantic import Field, create_model

from dagster_hpc.assets.partitions import refuse_range
from dagster_hpc.assets.signature import parameters_of, show_signature
from dagster_hpc.dagster_values import errors_as_failures
from dagster_hpc.engine.errors import ConfigurationError
from dagster_hpc.quantum.files import QuantumFiles
from dagster_hpc.quantum.metadata import quantum_metadata
from dagster_hpc.quantum.sampler import QuantumSampler
from dagster_hpc.quantum.values import QuantumJob

if TYPE_CHECKING:
    from qiskit import QuantumCircuit


def build_quantum_assets(
    circuits: "Callable[..., Sequence[QuantumCircuit]]",
    *,
    shots: int,
    seed: int = 24,
    name: str | None = None,
    sampler: str = "quantum",
    files: QuantumFiles | None = None,
    **asset_options: Any,
) -> list[dg.AssetsDefinition]:
    """The assets `<name>_job`, which submits these circuits, and `<name>_shots`, which waits for it and fetches.

    Materialize both in one run, or the second one when you like: the job does not need anybody who waits. Circuits that were
    submitted before, with the same shots, seed and options, are not submitted again.

    Args:
        circuits: Builds them, from upstream assets if it has parameters; all that is measured is sampled.
        shots: Of all circuits together; the launchpad can change it, and the seed.
        name: Of the assets; default: that of the function.
        sampler: Resource key of the `QuantumSampler`.
        files: IO manager of job and shots.
        **asset_options: Of both, as `dagster.asset` takes them (partitions_def, group_name, retry_policy, …).

    Example:
        def bell_pair() -> list[QuantumCircuit]:
            return [bell]

        assets = build_quantum_assets(bell_pair, shots=1000)
        assert dg.materialize(assets, resources={"quantum": LocalSampler()}).success
    """
    stem = name or circuits.__name__
    config_type = quantum_config(f"QuantumConfig_{stem}", shots, seed)
    parameters = parameters_of(circuits)
    storage: dict[str, Any] = {"io_manager_def": files or QuantumFiles()}

    @wraps(circuits)
    def submit(context: dg.AssetExecutionContext, **arguments: Any) -> Any:
        refuse_range(context)
        given = {"context": context, **arguments}
        asked = circuits(**{parameter: given[parameter] for parameter in parameters})
        config = arguments["config"]
        with errors_as_failures():
            job = arguments[sampler].submit(
                asked, shots=config.shots, seed=config.seed, reuse=reuse_of(config.reuse), context=context
            )
        return dg.MaterializeResult(value=job, metadata=quantum_metadata(job))

    def fetch(context: dg.AssetExecutionContext, **arguments: Any) -> Any:
        """The shots of the job, once it is over."""
        job: QuantumJob = arguments["job"]
        with errors_as_failures():
            shots = arguments[sampler].fetch(job, context=context)
        return dg.MaterializeResult(value=shots, metadata=quantum_metadata(job, shots))

    show_signature(submit, parameters, config_type, {sampler: QuantumSampler})
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=dg.AssetExecutionContext)
    wanted = {"job": QuantumJob, sampler: QuantumSampler}
    rest = [inspect.Parameter(name, context.kind, annotation=kind) for name, kind in wanted.items()]
    fetch.__signature__ = inspect.Signature([context, *rest])  # type: ignore[attr-defined]
    fetch.__annotations__ = {"context": dg.AssetExecutionContext, **wanted}
    options = {"kinds": {"qiskit"}, **storage, **asset_options}
    of_job = {"description": inspect.getdoc(circuits), **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # about io_manager_def, once for every asset
        submitted: dg.AssetsDefinition = dg.asset(name=f"{stem}_job", **of_job)(submit)
        fetched: dg.AssetsDefinition = dg.asset(
            name=f"{stem}_shots", ins={"job": dg.AssetIn(submitted.key)}, **options
        )(fetch)
    return [submitted, fetched]


class QuantumConfig(dg.Config):
    """What the launchpad offers for a quantum job."""

    shots: int = Field(default=1000, ge=1, description="Of all circuits together.")
    seed: int = Field(default=24, ge=0, description="Of the transpiler, and of a simulator.")
    reuse: str = Field(
        default="succeeded",
        description="succeeded: the same circuits, shots and seed are not submitted again; never: a new job.",
    )


def quantum_config(name: str, shots: int, seed: int) -> type[QuantumConfig]:
    """The config with these defaults: what the launchpad shows is what happens."""
    fields: dict[str, Any] = {"shots": (int, Field(default=shots, ge=1)), "seed": (int, Field(default=seed, ge=0))}
    return create_model(name, __base__=QuantumConfig, __doc__=QuantumConfig.__doc__, **fields)


def reuse_of(word: str) -> Literal["succeeded", "never"]:
    """The word that stands in the config, if it is one."""
    if word not in ("succeeded", "never"):
        raise ConfigurationError(f"reuse is {word!r}; it is 'succeeded' or 'never'")
    return cast(Literal["succeeded", "never"], word)
