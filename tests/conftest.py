"""Fixtures of the whole suite: stores of every kind, each the real thing."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import postgres

_SESSION = "VERTEBRA_TEST_SESSION"

# The suite draws the same examples each time: what is green stays green. `make campaign` draws new ones.
settings.register_profile("suite", derandomize=True, database=None)
settings.register_profile("campaign", derandomize=False, print_blob=True)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the workers, who inherit the environment, which process is the session and where its servers live."""
    if not hasattr(config, "workerinput"):
        os.environ[_SESSION] = f"{os.getpid()}:{postgres.folder_for_session()}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the session's servers when the last worker has gone; where this is not reached, their guard stops them."""
    if not hasattr(config, "workerinput"):
        postgres.stop(_session()[1])


def _session() -> tuple[int, Path]:
    pid, _, folder = os.environ[_SESSION].partition(":")
    return int(pid), Path(folder)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a server shared by all workers of this session, started by the first test that needs it."""
    pid, folder = _session()
    return postgres.start(folder, pid)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A fresh database."""
    with postgres.fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh file."""
    return f"sqlite:////{str(tmp_path).lstrip('/')}/threads.db?durability=process"


@pytest.fixture(params=["sqlite", "postgres"])
def durable_url(request: pytest.FixtureRequest) -> str:
    """Each store that outlives a process."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Each store."""
    if request.param == "memory":
        return "memory://"
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run ``async def`` tests on a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
