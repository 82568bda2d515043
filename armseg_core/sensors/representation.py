"""The contract of every representation: one `Representation` row, made of one pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# frame (C, H, W), channel names, unit of each channel, value range (low, high)
Made = tuple[np.ndarray, tuple[str, ...], tuple[str, ...], tuple[float, float]]


@dataclass(frozen=True)
class Representation:
    """One way to turn a sensor's array into a frame (C, H, W).

    name: short name, unique within its modality, such as "voxel_grid".
    title: human name. source: paper or definition it follows.
    make: for events (events, options, t0_us, t1_us) -> Made, per window; for the others, and for event files
        without single events (EventPicture, EventMoments), (array, options) -> Made.
        Pure: inputs are never written to.
    """

    name: str
    modality: str
    title: str
    source: str
    make: Callable[..., Made]

    def __call__(self, *arguments: Any) -> Made:
        return self.make(*arguments)
