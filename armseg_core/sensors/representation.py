"""The contract of every representation: one `Representation` row, made of one pure function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from armseg_core.arrays import Frame


@dataclass(frozen=True)
class Representation:
    """One way to turn a sensor's data into a `Frame`.

    name: short name, unique within its modality, such as "voxel_grid".
    title: human name. source: paper or definition it follows.
    make: for events (events, options, t0_us, t1_us) -> Frame, per window; for the others, and for event files
        without single events (EventPicture, EventMoments), (array, options) -> Frame.
        Pure: inputs are never written to.
    """

    name: str
    modality: str
    title: str
    source: str
    make: Callable[..., Frame]

    def __call__(self, *arguments: Any) -> Frame:
        return self.make(*arguments)
