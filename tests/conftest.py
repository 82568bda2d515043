"""What every test gets: one thread per process, no network, no user folders, and the sample data."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from places import REPOSITORY

os.environ["OMP_NUM_THREADS"] = "1"  # torch takes its number of threads from here
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TERM"] = "dumb"  # no colors or cursor movement in captured output
os.environ["COLUMNS"] = "110"
os.environ.pop("ARMSEG_TRACEBACK", None)

import pytest

from armseg_core.sensors import modalities

# Ctrl-C works in tests also where the suite runs in the background of a script, which ignores SIGINT
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@contextmanager
def _undeclared() -> Iterator[None]:
    """What a data set declares in a test is forgotten after it."""
    declared = dict(modalities._SENSORS.declared)
    yield
    modalities._SENSORS.declared = declared


@pytest.fixture(autouse=True, scope="module")
def _module_declares_for_itself() -> Iterator[None]:
    with _undeclared():
        yield


@pytest.fixture(autouse=True)
def _test_declares_for_itself() -> Iterator[None]:
    with _undeclared():
        yield


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The committed sample data. Read only: copy what a test changes."""
    return REPOSITORY / "sample_data"


@pytest.fixture
def armseg(monkeypatch: pytest.MonkeyPatch):
    """Run a command line in this process: `armseg("convert", "x.h5")` -> exit_code, stdout, stderr."""
    from typer.testing import CliRunner

    from armseg_cli.main import app

    def run(*arguments: object, cwd: Path | None = None):
        if cwd is not None:
            monkeypatch.chdir(cwd)
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="armseg")

    return run


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small CLIP with random weights, as the fields of ModelConfig that name its files."""
    from small_models import write_clip

    return write_clip(tmp_path_factory.mktemp("clip"))
