"""What data sets ask of the conversion of their sensor files: noted, and replaced where a test wants that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from armseg_core.data import DataSet
from armseg_core.files.tensor_file import SensorTensor, TensorInfo
from armseg_core.sensors.modalities import MODALITIES

Call = dict[str, Any]


def note_conversions(
    monkeypatch: pytest.MonkeyPatch, instead: Callable[..., SensorTensor] | None = None
) -> list[Call]:
    """The list that every conversion of a data set's file joins, as path, modality, size, at_us and options.

    instead: takes these by name and stands in for the conversion.
    """
    calls: list[Call] = []
    real = DataSet.make_sensor

    def make_sensor(self, path, modality, size, time_us, options) -> SensorTensor:
        call = {"path": Path(path), "modality": modality, "size": size, "at_us": time_us, "options": options}
        calls.append(call)
        return instead(**call) if instead else real(self, path, modality, size, time_us, options)

    monkeypatch.setattr(DataSet, "make_sensor", make_sensor)
    return calls


def zeros_but_one(*, path: Path, modality: str, size: tuple[int, int], **_: Any) -> SensorTensor:
    """A model tensor of one 1 and zeros for a file that exists, whatever it holds."""
    assert path.exists()
    row = MODALITIES[modality]
    units = ("1",) * row.num_channels
    info = TensorInfo(modality, row.representation, row.channels, units, row.value_range)
    frames = np.zeros((1, row.num_channels, *size), np.float32)
    frames[0, 0, 0, 0] = 1
    return SensorTensor(frames, np.zeros(1, np.int64), info)
