"""What all IO managers of this package share: where a file is, and that it is there as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from dagster_hpc.value_files import ValueFiles


class TextFiles(ValueFiles):
    extension = ".txt"

    def contents(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise TypeError("only text")
        return value.encode()

    def value(self, contents: bytes, name: str) -> Any:
        return contents.decode()


def materialize(folder: Path, value: Any, *, partition: str = "", **how: Any) -> dg.ExecuteInProcessResult:
    partitions = dg.StaticPartitionsDefinition([partition]) if partition else None

    @dg.asset(partitions_def=partitions, io_manager_key="files")
    def words() -> Any:
        return value

    resources = {"files": TextFiles(base_dir=str(folder))}
    return dg.materialize([words], partition_key=partition or None, resources=resources, **how)


@pytest.mark.parametrize("partition", ["..", "../x", "/x", "./x"])
def test_a_partition_stays_below_its_asset(tmp_path: Path, partition: str) -> None:
    assert materialize(tmp_path / "here", "told", partition=partition).success

    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert (tmp_path / "here" / "words") in file.resolve().parents
    assert file.read_text() == "told"


def test_a_value_that_cannot_be_stored_leaves_the_old_file(tmp_path: Path) -> None:
    assert materialize(tmp_path, "the old one").success
    assert not materialize(tmp_path, 7, raise_on_error=False).success
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the old one"]


def test_two_at_once_do_not_share_an_unfinished_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = Path.write_bytes

    def noted(path: Path, data: bytes) -> int:
        written.append(path.name)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", noted)
    for value in ("one", "two"):
        materialize(tmp_path, value)
    assert len({name for name in written if name.startswith("words")}) == 2
    assert (tmp_path / "words.txt").read_text() == "two"


def test_every_io_manager_is_one() -> None:
    quantum = pytest.importorskip("dagster_hpc.quantum.files").QuantumFiles
    sqd = pytest.importorskip("dagster_hpc.sqd.files").SQDFiles
    dice = pytest.importorskip("dagster_hpc.dice.io_manager").SCIResultIOManager
    assert all(issubclass(kind, ValueFiles) for kind in (quantum, sqd, dice))
