"""Runs one function on a compute node, and leaves what came of it in files.

This file is placed beside each call, in the folder `.call` of its job, and started there. It needs Python 3.6 and nothing
else: neither this package nor Dagster has to be on the node. There may be thousands of short calls, and what it imports,
each of them imports: so at its head stands only what Python has loaded already, and the rest where it is needed.
"""

import faulthandler
import io
import os
import sys
import time

try:
    import _pickle as pickle  # its half in C, which does all that is done here: the other imports much for itself
except ImportError:
    import pickle  # type: ignore[no-redef]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FOLDER = ".call"
WORKER, CALL = "worker.py", "call.pickle"
VALUE, METADATA = "value.pickle", "metadata.pickle"
FAILURE, FAILURE_END = "failure.", ".json"  # with the rank between them
LOGGED = "context.log"  # stands in each line that a function logs by its context
PROTOCOL = 4  # of pickle: the newest that every Python since 3.4 reads

# Who starts the ranks tells each which it is: Open MPI (and Fujitsu's), MVAPICH, PMIx, MPICH's Hydra, Flux, Slurm.
RANKS = (
    "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "FLUX_TASK_RANK", "SLURM_PROCID",
)  # fmt: skip


class CannotCall(Exception):
    """The function could not be called here, or its value could not be kept. The words say why."""


def mismatch(wanted: "dict[str, Any]", python: "Sequence[int]", cloudpickle: "str | None") -> str:
    """Why a function that travels by value cannot be called by this interpreter; empty if it can.

    Its bytecode is that of one minor version of Python, and its pickle that of one major version of cloudpickle.
    """
    faults = []
    here, there = wanted["python"], list(python)
    if here[:2] != there[:2]:
        faults.append(f"Python is {here[0]}.{here[1]} here and {there[0]}.{there[1]} on the node")
    if cloudpickle is None:
        faults.append("cloudpickle is not installed on the node")
    elif cloudpickle.split(".")[0] != wanted["cloudpickle"].split(".")[0]:
        faults.append(f"cloudpickle is {wanted['cloudpickle']} here and {cloudpickle} on the node")
    return ", and ".join(faults)


def digest_of(function: "Any") -> "str | None":
    """A digest of the function's text; None where there is none to be had, as of one that is written in C."""
    import hashlib
    import inspect

    try:
        text = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def found(module: str, name: str) -> "Any":
    """What stands under this name in this module."""
    __import__(module)
    thing = sys.modules[module]
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


class Context:
    """What the function of an asset is told of its step, where there is no Dagster."""

    def __init__(self, told: "dict[str, Any]") -> None:
        self.asset_key = told["asset_key"]
        self.run_id = told["run_id"]
        self.partition_keys: list[str] = told["partition_keys"]
        self.log = _logger()
        self.output_metadata: dict[str, Any] = {}
        self._began = time.monotonic()
        self._told_at = 0.0

    @property
    def has_partition_key(self) -> bool:
        return len(self.partition_keys) == 1

    @property
    def partition_key(self) -> str:
        """The one partition that is made."""
        if not self.has_partition_key:
            raise AttributeError(f"this call is about {len(self.partition_keys)} partitions")
        return self.partition_keys[0]

    def add_output_metadata(self, metadata: "dict[str, Any]") -> None:
        """Further metadata of the materialization."""
        self.output_metadata.update(metadata)

    def progress(self, done: float, total: float) -> None:
        """Say how far the function is: at the end, and before that once a second at first, ever less often later."""
        now = time.monotonic()
        if done >= total or now - self._told_at >= max(1.0, 0.05 * (now - self._began)):
            self._told_at = now
            self.log.info("%g of %g (%.0f %%)", done, total, 100.0 * done / total if total else 100.0)


def _logger() -> "Any":
    """Its lines go to the job's stderr, and from there into the log of the step's run."""
    import logging

    log = logging.getLogger("dagster_hpc.call")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s " + LOGGED + " %(levelname)s: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.propagate = False
    return log


class _Arguments(pickle.Unpickler):
    """Arguments, with the values of the calls that came before in the places that were kept for them."""

    def persistent_load(self, pid: "Any") -> "Any":
        kind, content = pid[0], pid[1]
        if kind == "set":
            return set(content)
        if kind == "frozenset":
            return frozenset(content)
        path, called = content
        try:
            return unpickled(path)
        except FileNotFoundError as error:
            raise CannotCall(
                f"it needs the value of {called}, which is not there: that call has failed, or its files were removed "
                f"({path})"
            ) from error


def unpickled(path: str) -> "Any":
    """The value in this file."""
    with open(path, "rb") as file:
        return pickle.load(file)


def main() -> int:
    sys.path[0] = os.getcwd()  # in place of the folder of this file; modules among the job's inputs are found
    faulthandler.enable()
    here = os.path.dirname(os.path.abspath(__file__))
    call = unpickled(os.path.join(here, CALL))
    rank = 0
    try:
        rank = _rank(call["ranks"])
        _forget(here, rank)  # what a former life of this job has left
        value, context = _called(call)
        if rank == 0:
            _keep(here, value, context)
    except (Exception, SystemExit) as error:
        _tell(here, rank, call["called"], error)
        _abort(call["ranks"])
        return 1
    return 0


def _rank(ranks: int) -> int:
    if ranks == 1:
        return 0  # whatever the job was started in
    for variable in RANKS:
        if os.environ.get(variable, "").isdigit():
            return int(os.environ[variable])
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise CannotCall(
            f"none of its {ranks} ranks can tell which it is: no {', '.join(RANKS)} is set, and mpi4py is not there"
        ) from error
    return int(MPI.COMM_WORLD.Get_rank())


def _forget(here: str, rank: int) -> None:
    for name in [FAILURE + str(rank) + FAILURE_END] + ([VALUE, METADATA] if rank == 0 else []):
        path = os.path.join(here, name)
        if os.path.exists(path):
            os.remove(path)


def _called(call: "dict[str, Any]") -> "tuple[Any, Context | None]":
    sys.path.extend(folder for folder in call["folders"] if os.path.isdir(folder) and folder not in sys.path)
    if call["by_value"]:
        why = mismatch(call["by_value"], sys.version_info[:2], _cloudpickle_version())
        if why:
            raise CannotCall(why)
    function = _function(call)
    try:
        args, kwargs = _read(call["arguments"])
    except (ImportError, AttributeError) as error:
        raise CannotCall(f"its arguments cannot be read on the node: {error}") from error
    context = Context(call["context"]) if call["context"] else None
    if context is not None:
        kwargs["context"] = context
    return function(*args, **kwargs), context


def _read(pickled: bytes) -> "Any":
    return _Arguments(io.BytesIO(pickled)).load()


def _cloudpickle_version() -> "str | None":
    try:
        return str(__import__("cloudpickle").__version__)
    except ImportError:
        return None


def _function(call: "dict[str, Any]") -> "Any":
    if call["function"] is not None:
        try:
            return _read(call["function"])
        except (ImportError, AttributeError) as error:
            raise CannotCall(f"it cannot be read on the node: {error}") from error
    try:
        function = found(call["module"], call["name"])
    except (ImportError, AttributeError) as error:
        raise CannotCall(f"it cannot be imported on the node: {error}") from error
    there = digest_of(function) if call["digest"] else None
    if there and there != call["digest"]:
        where = getattr(sys.modules[call["module"]], "__file__", "?")
        raise CannotCall(f"the node has another version of it, in {where}: its text differs from the one here")
    return function


def _keep(here: str, value: "Any", context: "Context | None") -> None:
    """Leave the value for who asked; metadata first, so that all is there once the value is."""
    if context is not None and context.output_metadata:
        _write(os.path.join(here, METADATA), pickled(context.output_metadata))
    _write(os.path.join(here, VALUE), pickled(value))


def pickled(value: "Any") -> bytes:
    """A value as it is left for who asked."""
    if "dagster" in sys.modules:
        _know_results_of_checks(sys.modules["dagster"])
    try:
        return pickle.dumps(value, PROTOCOL)
    except Exception as error:
        plainly = error
    try:
        return bytes(__import__("cloudpickle").dumps(value, PROTOCOL))
    except Exception:
        raise CannotCall(f"it returned what cannot be pickled ({type(value).__name__}): {plainly}") from plainly


def _know_results_of_checks(dagster: "Any") -> None:
    """They are made from named fields only, which pickle does not know."""
    import copyreg
    from functools import partial

    copyreg.pickle(dagster.AssetCheckResult, lambda result: (partial(dagster.AssetCheckResult, **result._asdict()), ()))


def _write(path: str, content: bytes) -> None:
    """A file that is there as a whole or not at all, for this user only."""
    unfinished = f"{path}.{os.getpid()}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    os.replace(unfinished, path)


def _tell(here: str, rank: int, called: str, error: BaseException) -> None:
    """Leave the exception for who asked, and print it for who reads the job's stderr."""
    import json

    words = told(error)
    said = words["traceback"] or f"dagster_hpc: {called} did not come to its end: {words['words']}\n"
    print(said, end="", file=sys.stderr, flush=True)
    content = json.dumps({"rank": rank, **words}).encode()
    _write(os.path.join(here, FAILURE + str(rank) + FAILURE_END), content)


def told(error: BaseException) -> "dict[str, Any]":
    """An exception in words, and itself where it can travel. What is no exception of the function's has no type."""
    if isinstance(error, SystemExit):
        return _words(f"it called sys.exit({error.code!r}) and returned nothing")
    if isinstance(error, CannotCall):
        return _words(str(error))
    import traceback

    lines = traceback.format_exception(type(error), error, _below_this_file(error))
    return dict(_words(str(error)), type=type(error).__name__, traceback="".join(lines), exception=_as_text(error))


def _words(words: str) -> "dict[str, Any]":
    return {"type": "", "words": words, "traceback": "", "exception": None}


def _below_this_file(error: BaseException) -> "Any":
    """The traceback from the user's first frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def _as_text(error: BaseException) -> "str | None":
    """The exception itself, where it can be pickled and comes back the same kind."""
    import base64
    from contextlib import suppress

    with suppress(Exception):  # many cannot; the traceback tells of those
        content = pickle.dumps(error, PROTOCOL)
        if type(pickle.loads(content)) is type(error):
            return base64.b64encode(content).decode()
    return None


def _abort(ranks: int) -> None:
    """End the other ranks too, which may wait for this one: at exit MPI would wait for them."""
    mpi = sys.modules.get("mpi4py.MPI")
    if ranks > 1 and mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
        sys.stdout.flush()
        sys.stderr.flush()
        mpi.COMM_WORLD.Abort(1)


if __name__ == "__main__":
    sys.exit(main())
