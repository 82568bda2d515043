"""A sensor made of one row in each table: proof that nothing else has to change. Used by tests only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from armseg_core.arrays import Frame
from armseg_core.config.base import Options
from armseg_core.errors import FormatError
from armseg_core.sensors import modalities, representations
from armseg_core.sensors import options as groups
from armseg_core.sensors import recognition as sensors
from armseg_core.sensors.modalities import Modality
from armseg_core.sensors.recognition import Reader
from armseg_core.sensors.representations import Representation

MAGIC = b"SONAR1"


class SonarOptions(Options):
    gain: float = Field(1.0, gt=0, description="Factor on the echoes.")


def write(path: Path, values: np.ndarray) -> Path:
    """values: (H, W) float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + np.array(values.shape, "<u4").tobytes() + values.astype("<f4").tobytes())
    return path


def read(path: Path, options: SonarOptions) -> np.ndarray:
    data = path.read_bytes()[len(MAGIC) :]
    h, w = (int(n) for n in np.frombuffer(data[:8], "<u4"))
    if len(data) != 8 + 4 * h * w:
        raise FormatError("the sonar file is truncated", where=path, expected=f"{8 + 4 * h * w} bytes")
    return np.frombuffer(data[8:], "<f4").reshape(h, w) * np.float32(options.gain)


def echo(values: np.ndarray, options: SonarOptions) -> Frame:
    return Frame(values[None].astype(np.float32), ("echo",), ("dB",), (0.0, 1.0))


SENSOR = Modality(
    name="sonar",
    title="sonar",
    prompt="sonar image",
    channels=("echo",),
    value_range=(0.0, 1.0),
    representation="echo",
    pseudo_rgb=((1.0, 1.0, 1.0),),
)
READER = Reader(
    "sonar1",
    "sonar",
    "sonar dump",
    ("*.sonar",),
    lambda path: path.is_file() and path.read_bytes().startswith(MAGIC),
    read,
    notes="a toy",
)


@pytest.fixture
def sonar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the sensor for one test."""
    monkeypatch.setitem(modalities.MODALITIES, "sonar", SENSOR)
    monkeypatch.setitem(groups.OPTIONS, "sonar", SonarOptions)
    monkeypatch.setattr(sensors, "READERS", (*sensors.READERS, READER))
    row = Representation("echo", "sonar", "echo", "this test", echo)
    monkeypatch.setattr(representations, "REPRESENTATIONS", (*representations.REPRESENTATIONS, row))
