"""Files of assets' values: one for each asset and partition, there as a whole or not at all."""

# No `from __future__ import annotations` here: Dagster reads the annotations of the fields.

import secrets
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg
from pydantic import Field

from dagster_hpc.engine.errors import ConfigurationError

if TYPE_CHECKING:
    from upath import UPath


class ValueFiles(dg.ConfigurableIOManagerFactory):  # type: ignore[type-arg]
    """An IO manager of values whose files a subclass writes and reads; several upstream partitions arrive as a dict."""

    extension: ClassVar[str]

    base_dir: str | None = Field(
        default=None, description="Folder or URL of the files; default: the storage folder of the Dagster instance."
    )

    @abstractmethod
    def contents(self, value: Any) -> bytes:
        """The contents of a file."""

    @abstractmethod
    def value(self, contents: bytes, name: str) -> Any:
        """What `contents` was given. `name`: of the file, for errors."""

    def create_io_manager(self, context: dg.InitResourceContext) -> "_Files":
        from upath import UPath

        if self.base_dir is None and context.instance is None:
            raise ConfigurationError(f"{type(self).__name__} has no base_dir, and there is no Dagster instance with one")
        base = self.base_dir if self.base_dir is not None else context.instance.storage_directory()  # type: ignore[union-attr]
        return _Files(self, UPath(base))


class _Files(dg.UPathIOManager):
    def __init__(self, kind: ValueFiles, base_path: "UPath") -> None:
        self._kind = kind
        self.extension = kind.extension
        super().__init__(base_path)

    def make_safe_partition_path(self, base_path: "UPath", partition: str) -> "UPath":
        # A partition named ../x or /x stays below the asset's folder.
        parts = [part.replace(".", "%2E") if part in (".", "..") else part for part in partition.split("/")]
        return super().make_safe_partition_path(base_path, "/".join(parts))

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: "UPath") -> None:
        data = self._kind.contents(obj)
        if not isinstance(path, Path):
            path.write_bytes(data)  # object stores show a file when it is whole
            return
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        unfinished.write_bytes(data)
        unfinished.replace(path)  # a reader meets the old file or the new one

    def load_from_path(self, context: dg.InputContext, path: "UPath") -> Any:
        return self._kind.value(path.read_bytes(), str(path))
