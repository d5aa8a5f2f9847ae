"""A Dagster project whose definitions are YAML: what `create-dagster project` makes, as small as it may be."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

import dagster as dg

_PYPROJECT = """
[project]
name = "{name}"
version = "0.1.0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "{name}"
"""
_DEFINITIONS = """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
HEAD = """
type: dagster_hpc.HPCJobComponent
attributes:
  target: {kind: local, spool: $SPOOL, poll_interval: 0.2}
  work_root: $WORK
"""


@dataclass(frozen=True)
class Project:
    """A project in a folder."""

    root: Path
    name: str

    @classmethod
    def new(cls, folder: Path) -> Project:
        return cls(folder / "project", f"project_{uuid.uuid4().hex[:8]}").made()  # modules of other tests stay loaded

    def made(self) -> Project:
        """The project with its files."""
        package = self.root / "src" / self.name
        (package / "defs").mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (package / "defs" / "__init__.py").touch()
        (package / "definitions.py").write_text(_DEFINITIONS)
        (self.root / "pyproject.toml").write_text(_PYPROJECT.format(name=self.name))
        return self

    @property
    def defs(self) -> Path:
        return self.root / "src" / self.name / "defs"

    def write(self, text: str, folder: str = "pipeline", head: str = HEAD, **files: str) -> Path:
        """A `defs.yaml` with these attributes after the usual target, and files beside it: `run__sh` is `run.sh`."""
        place = self.defs / folder
        place.mkdir(exist_ok=True)
        attributes = indent(dedent(text).strip("\n"), "  ")
        (place / "defs.yaml").write_text(self.filled(f"{head.strip()}\n{attributes}\n"))
        for name, content in files.items():
            (place / name.replace("__", ".")).write_text(content)
        return place / "defs.yaml"

    def filled(self, text: str) -> str:
        """With folders of this test in place of `$SPOOL` and `$WORK`."""
        return text.replace("$SPOOL", str(self.root.parent / "spool")).replace("$WORK", str(self.root.parent / "work"))

    def load(self) -> dg.Definitions:
        """What Dagster makes of the project."""
        from dagster.components.testing.utils import DefsFolderSandbox

        sandbox = DefsFolderSandbox(project_root=self.root, defs_folder_path=self.defs, project_name=self.name)
        with sandbox.build_all_defs() as definitions:
            return definitions


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, *keys: str, partition: str | None = None,
    span: tuple[str, str] | None = None, ok: bool = True,
) -> dg.ExecuteInProcessResult:  # fmt: skip
    """Materialize these assets (all, if none is named), for a partition or a span of them."""
    job = definitions.resolve_implicit_global_asset_job_def()
    tags = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), span or (), strict=False))
    result = job.execute_in_process(
        instance=instance, partition_key=partition, tags=tags, raise_on_error=ok,
        asset_selection=[dg.AssetKey.from_user_string(key) for key in keys] or None,
    )  # fmt: skip
    assert result.success is ok
    return result
