"""The plug-in of `toy_plugin` inside the running process, and changed rows of sensors. Used by tests only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from armseg_sonar import SENSOR, write

from armseg_core.plugins import Plugin
from armseg_core.sensors import SENSORS, modalities
from armseg_core.sensors.reader import Reader

__all__ = ["change_readers", "sonar", "use_plugins", "write"]


@pytest.fixture
def sonar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the sensor for one test."""
    use_plugins(monkeypatch, SENSOR)


def use_plugins(monkeypatch: pytest.MonkeyPatch, *values: object) -> None:
    """As if the package armseg-toy had an entry point toy0, toy1, ... for each of the values."""
    found = tuple(
        Plugin("armseg.sensors", f"toy{i}", "armseg-toy", "1.0", value) for i, value in enumerate(values)
    )
    monkeypatch.setattr(
        "armseg_core.plugins.load_plugins", lambda group: found if group == modalities.PLUGINS else ()
    )
    monkeypatch.setattr(SENSORS, "_loaded", None)


def change_readers(monkeypatch: pytest.MonkeyPatch, change: Callable[[Reader], Reader]) -> None:
    """Put other readers into the row of every sensor, for one test."""
    rows = {name: replace(row, readers=tuple(map(change, row.readers))) for name, row in SENSORS.items()}
    monkeypatch.setattr(SENSORS, "_loaded", (rows, modalities.sensor_plugins()))
