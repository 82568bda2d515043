"""From a sensor's array to a frame (C, H, W): the row of its sensor lists how.

Adding a representation = one pure function and one row in the representations of its sensor.
"""

from __future__ import annotations

import difflib

import numpy as np

from armseg_core.config.base import Options
from armseg_core.errors import UsageError
from armseg_core.sensors.modalities import get_modality
from armseg_core.sensors.representation import Representation

__all__ = ["Representation", "get_representation", "model_tensor"]


def get_representation(
    modality: str, name: str | None = None, options: Options | None = None
) -> Representation:
    """The row of a representation; without a name the sensor's default (case and '-' / '_' do not matter).

    Args:
        options: of the sensor's group, where they may decide what the default is.

    Raises:
        UsageError: unknown modality or name, with the nearest known name.
    """
    sensor = get_modality(modality)
    rows = {row.name: row for row in sensor.representations}
    decided = sensor.representation_for(options) if sensor.representation_for and options else None
    key = (name or decided or sensor.representation).strip().lower().replace("-", "_")
    if key in rows:
        return rows[key]
    near = difflib.get_close_matches(key, rows, n=1)
    raise UsageError(
        f"unknown representation '{name or key}' for {sensor.name}",
        where="--representation",
        expected="one of " + ", ".join(rows),
        hint=f"--representation {near[0]}" if near else None,
    )


def model_tensor(modality: str, frame: np.ndarray, channels: tuple[str, ...]) -> np.ndarray | None:
    """A frame (C, H, W) as the model tensor of its sensor, float32; None when it cannot be turned into it.

    Raises:
        UsageError: unknown modality.
    """
    sensor = get_modality(modality)
    if tuple(channels) == sensor.channels:
        return frame.astype(np.float32, copy=False)
    return sensor.model_tensor(frame, channels) if sensor.model_tensor else None
