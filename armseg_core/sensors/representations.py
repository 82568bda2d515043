"""From a sensor's array to a frame (C, H, W): REPRESENTATIONS is the one table.

Adding a representation = one pure function and one row in the module of its sensor.
"""

from __future__ import annotations

import difflib

import numpy as np

from armseg_core.errors import UsageError
from armseg_core.sensors.depth.representations import DEPTH_REPRESENTATIONS
from armseg_core.sensors.event.representations import EVENT_REPRESENTATIONS
from armseg_core.sensors.lidar.representations import LIDAR_REPRESENTATIONS
from armseg_core.sensors.light_field import representations as light_field
from armseg_core.sensors.light_field.representations import LIGHT_FIELD_REPRESENTATIONS
from armseg_core.sensors.modalities import get_modality
from armseg_core.sensors.polarization.representations import POLARIZATION_REPRESENTATIONS
from armseg_core.sensors.representation import Representation
from armseg_core.sensors.thermal.representations import THERMAL_REPRESENTATIONS

__all__ = ["REPRESENTATIONS", "Representation", "get_representation", "model_tensor", "representations_for"]


REPRESENTATIONS: tuple[Representation, ...] = (
    *EVENT_REPRESENTATIONS,
    *THERMAL_REPRESENTATIONS,
    *DEPTH_REPRESENTATIONS,
    *LIDAR_REPRESENTATIONS,
    *POLARIZATION_REPRESENTATIONS,
    *LIGHT_FIELD_REPRESENTATIONS,
)


def representations_for(modality: str) -> tuple[Representation, ...]:
    """The rows of one sensor.

    Raises:
        UsageError: unknown modality.
    """
    name = get_modality(modality).name
    return tuple(row for row in REPRESENTATIONS if row.modality == name)


def get_representation(modality: str, name: str | None = None) -> Representation:
    """The row of a representation; without a name the sensor's default (case and '-' / '_' do not matter).

    Raises:
        UsageError: unknown modality or name, with the nearest known name.
    """
    sensor = get_modality(modality)
    rows = {row.name: row for row in representations_for(sensor.name)}
    key = (name or sensor.representation).strip().lower().replace("-", "_")
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
    if sensor.name == "light_field":
        return light_field.model_tensor(frame, channels)
    return None
