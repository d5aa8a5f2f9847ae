from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.step_jobs import pipeline
from tests.step_jobs.place import StepHome
from tests.systems.slurm import SlurmCluster

# What a site's dagster.yaml says of its database; the password is in the environment alone.
STORAGE = """\
storage:
  postgres:
    postgres_db:
      scheme: postgresql+psycopg2
      username: postgres
      password:
        env: STEP_JOBS_DATABASE_PASSWORD
      hostname: 127.0.0.1
      port: {port}
      db_name: {database}
"""
ON_SLURM = pytest.param("slurm", marks=pytest.mark.needs("slurm", "postgres"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepHome]:
    """On the embedded scheduler, with SQLite."""
    yield from opened(StepHome(tmp_path / "home", {pipeline.PASSWORD: "open sesame"}), monkeypatch)


@pytest.fixture
def slurm_home(slurm: SlurmCluster, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepHome]:
    """On the real Slurm, with instance and ledger in a real PostgreSQL."""
    pytest.importorskip("dagster_postgres")
    folder = slurm.folder / "step_jobs"
    shutil.rmtree(folder, ignore_errors=True)
    address = sa.make_url(new_database(postgres_url))
    variables = {
        **slurm.environment,
        pipeline.ACCOUNT: slurm.account,
        "STEP_JOBS_DATABASE_PASSWORD": "not asked for here",
        "DAGSTER_HPC_LEDGER": address.render_as_string(hide_password=False),
    }
    config = STORAGE.format(port=address.port, database=address.database)
    yield from opened(StepHome(folder, variables, config), monkeypatch)


@pytest.fixture(params=["local", ON_SLURM])
def anywhere(request: Any) -> StepHome:
    """Here, and on the real systems."""
    made: StepHome = request.getfixturevalue("home" if request.param == "local" else "slurm_home")
    return made


def new_database(url: str) -> str:
    """The URL of an empty database on this server."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        name = f"step_jobs_{connection.execute(sa.text('SELECT count(*) FROM pg_database')).scalar_one()}"
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)


def opened(home: StepHome, monkeypatch: pytest.MonkeyPatch) -> Iterator[StepHome]:
    """In this process too. What still runs at the end is cancelled."""
    for name, value in home.environment.items():
        monkeypatch.setenv(name, value)
    yield home
    hpc = pipeline.runner()
    for row in hpc.jobs(live=True):
        hpc.cancel(row.handle())
