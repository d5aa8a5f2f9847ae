"""What is stored comes back exactly: every type, partitions, and nothing that a file could smuggle in."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import h5py
import numpy as np
import pytest
from qiskit_addon_sqd.fermion import SCIResult, SCIState

from dagster_hpc.dice import DiceResult, SCIResultIOManager, read_dice_outputs
from dagster_hpc.dice.io_manager import ResultFileInvalid, from_bytes, to_bytes
from tests.dice.golden import case

RANDOM = np.random.default_rng(1)


def golden(name: str) -> DiceResult:
    one = case(name)
    return read_dice_outputs(one.folder, norb=one.norb, nelec=one.nelec, stdout=one.stdout)


def state(norb: int = 6) -> SCIState:
    alpha = np.array([3, 5, 6], np.int64)
    beta = np.array([1 << norb - 1 | 1, 9], np.int64 if norb < 64 else object)
    return SCIState(RANDOM.normal(size=(3, 2)), alpha, beta, norb=norb, nelec=(2, 2))


def sci_result(norb: int = 6, **more: Any) -> SCIResult:
    occupancies = (RANDOM.random(norb), RANDOM.random(norb))
    return SCIResult(-1.0 / 3.0, state(norb), occupancies, **more)


def same(one: Any, other: Any) -> bool:
    """Equal in type, value, number type and shape, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


VALUES: dict[str, Callable[[], Any]] = {
    "SCIResult": sci_result,
    "SCIResult with density matrices": lambda: sci_result(rdm1=RANDOM.random((6, 6)), rdm2=RANDOM.random((6, 6, 6, 6))),
    "SCIResult without a state": lambda: SCIResult(
        -2.0, None, (np.ones(2), np.ones(2)), carryover=(np.array([1]),) * 2
    ),
    "SCIResult of 70 orbitals": lambda: sci_result(70),
    "SCIState": state,
    "complex amplitudes": lambda: SCIState(np.array([[1j]]), np.array([1]), np.array([2]), norb=2, nelec=(1, 1)),
    "single precision": lambda: SCIState(np.ones((1, 1), np.float32), np.array([1]), np.array([2]), 2, (1, 1)),
    "DiceResult": lambda: golden("h2o_sto3g"),
    "DiceResult of 40 orbitals": lambda: golden("ppp_norb40_3a2b"),
    "a batch": lambda: [sci_result(), sci_result()],
    "a dict": lambda: {"energy": -1.5, "results": (golden("h2_sto3g"), None), "n": 3, "ok": True, 5: "five"},
    "an array": lambda: RANDOM.random((3, 0, 2)),
    "no strings": lambda: np.array([], object),
    "infinity": lambda: [float("inf"), -0.1, 1e-320],
}


@pytest.mark.parametrize("name", VALUES)
def test_it_comes_back_exactly(name: str) -> None:
    value = VALUES[name]()
    assert same(from_bytes(to_bytes(value)), value)


def test_a_result_that_came_back_works() -> None:
    one = golden("h2o_sto3g")
    other = from_bytes(to_bytes(one))
    assert (other.energy, other.spin_square, other.leading(3)) == (one.energy, one.spin_square, one.leading(3))
    assert other.checks == one.checks
    assert same(other.sci_state(), one.sci_state())


def test_the_file_is_readable_without_us(tmp_path: Path) -> None:
    result = sci_result()
    (tmp_path / "r.h5").write_bytes(to_bytes(result))
    with h5py.File(tmp_path / "r.h5") as file:
        assert (file["arrays/sci_state/amplitudes"][()] == result.sci_state.amplitudes).all()


@pytest.mark.parametrize("value", [object(), {1.5: 1}, np.array(["a"]), np.array([-1], object), len])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="SCIResultIOManager stores"):
        to_bytes(value)


def test_a_class_that_only_has_the_name_is_refused() -> None:
    from dataclasses import make_dataclass

    with pytest.raises(TypeError, match="not DiceResult"):
        to_bytes(make_dataclass("DiceResult", ["energy"])(1.0))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResultFileInvalid, match="no HDF5 file"):
        from_bytes(to_bytes(sci_result())[:-100])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = 1
    with pytest.raises(ResultFileInvalid, match="not written by"):
        from_bytes((tmp_path / "other.h5").read_bytes())


def test_a_file_builds_only_what_it_may(tmp_path: Path) -> None:
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["version"] = "dagster_hpc.sci", 1
        file["structure"] = np.frombuffer(b'{"object": "Popen", "fields": {"args": "true"}}', np.uint8)
    with pytest.raises(ResultFileInvalid, match="'Popen'"):
        from_bytes(path.read_bytes())


# -- as an IO manager


def test_upstream_and_downstream(tmp_path: Path) -> None:
    @dg.asset(io_manager_key="sci", key_prefix="n2")
    def state_of_n2() -> Any:
        return golden("h2_sto3g")

    seen = []

    @dg.asset(ins={"it": dg.AssetIn(["n2", "state_of_n2"])})
    def energy(it: Any) -> None:
        seen.append(it)

    resources = {"sci": SCIResultIOManager(base_dir=str(tmp_path))}
    assert dg.materialize([state_of_n2, energy], resources=resources).success

    assert same(seen[0], golden("h2_sto3g"))
    assert (tmp_path / "n2" / "state_of_n2.h5").is_file()
    assert [path.suffix for path in tmp_path.rglob("*.*")] == [".h5"]


def test_partitions_are_files_and_load_as_a_dict(tmp_path: Path) -> None:
    keys = ["1.0", "1.1", "a/b", "../up"]
    lengths = dg.StaticPartitionsDefinition(keys)

    @dg.asset(partitions_def=lengths, io_manager_key="sci")
    def point(context: dg.AssetExecutionContext) -> Any:
        return SCIResult(float(keys.index(context.partition_key)), state(), (np.ones(6), np.ones(6)))

    seen = []

    @dg.asset
    def curve(point: dict[str, Any]) -> None:
        seen.append({key: result.energy for key, result in point.items()})

    resources = {"sci": SCIResultIOManager(base_dir=str(tmp_path / "results"))}
    instance = dg.DagsterInstance.ephemeral()
    for key in keys:
        assert dg.materialize([point], partition_key=key, resources=resources, instance=instance).success
    assert dg.materialize([point, curve], selection=[curve], resources=resources, instance=instance).success

    assert seen == [{key: float(index) for index, key in enumerate(keys)}]
    assert {path.name for path in tmp_path.iterdir()} == {"results"}
    assert (tmp_path / "results" / "point" / "1.1.h5").is_file()


def test_several_dimensions(tmp_path: Path) -> None:
    both = dg.MultiPartitionsDefinition(
        {"r": dg.StaticPartitionsDefinition(["1.0"]), "basis": dg.StaticPartitionsDefinition(["6-31g"])}
    )

    @dg.asset(partitions_def=both, io_manager_key="sci")
    def point() -> Any:
        return golden("h2_sto3g")

    seen = []

    @dg.asset(partitions_def=both)
    def after(point: Any) -> None:
        seen.append(point)

    key = dg.MultiPartitionKey({"r": "1.0", "basis": "6-31g"})
    resources = {"sci": SCIResultIOManager(base_dir=str(tmp_path))}
    assert dg.materialize([point, after], partition_key=key, resources=resources).success
    assert same(seen[0], golden("h2_sto3g"))


def test_without_a_folder_it_is_the_instances(tmp_path: Path) -> None:
    @dg.asset(io_manager_key="sci")
    def result() -> Any:
        return golden("h2_sto3g")

    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert dg.materialize([result], resources={"sci": SCIResultIOManager()}, instance=instance).success
        assert Path(instance.storage_directory(), "result.h5").is_file()
