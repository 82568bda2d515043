"""The 13 classes of the simulated street, in label order.

RGB alone cannot tell the members of a pair apart; the last column names the sensors that can:
    person / mannequin           thermal, events
    moving_car / parked_car      thermal, events
    billboard / cars, people     depth, light field, polarization (cars)
    glass / opening              polarization, depth, light field, thermal
    water / dark_patch           polarization, thermal, depth, light field, events (ripples)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IGNORE_INDEX = 255  # the usual value of a mask's pixels that do not count


@dataclass(frozen=True)
class SimulatedClass:
    """name, mask color (RGB 0..255), synonyms for text prompts, and the words used in captions."""

    name: str
    color: tuple[int, int, int]
    synonyms: tuple[str, ...]
    phrase: str


CLASSES: tuple[SimulatedClass, ...] = (
    SimulatedClass("ground", (128, 64, 128), ("road", "floor"), "the road"),
    SimulatedClass("building", (110, 110, 110), ("wall", "facade"), "a building"),
    SimulatedClass("sky", (70, 130, 180), ("open sky",), "the sky"),
    SimulatedClass("vegetation", (107, 142, 35), ("tree", "bush"), "trees"),
    SimulatedClass("person", (220, 20, 60), ("pedestrian", "walking person"), "a person"),
    SimulatedClass("mannequin", (255, 150, 170), ("dummy", "doll"), "a mannequin"),
    SimulatedClass("moving_car", (0, 0, 230), ("driving car", "moving vehicle"), "a moving car"),
    SimulatedClass("parked_car", (0, 180, 230), ("standing car", "parked vehicle"), "a parked car"),
    SimulatedClass("billboard", (250, 170, 30), ("poster", "cardboard standee"), "a billboard"),
    SimulatedClass("glass", (0, 220, 160), ("window pane", "glass window"), "a glass window"),
    SimulatedClass("opening", (90, 40, 20), ("open window", "hole in the wall"), "an opening in a wall"),
    SimulatedClass("water", (0, 80, 100), ("puddle", "wet ground"), "a water puddle"),
    SimulatedClass("dark_patch", (60, 30, 90), ("asphalt repair", "dark asphalt"), "a dark asphalt patch"),
)
NAMES: tuple[str, ...] = tuple(c.name for c in CLASSES)
(
    GROUND,
    BUILDING,
    SKY,
    VEGETATION,
    PERSON,
    MANNEQUIN,
    MOVING_CAR,
    PARKED_CAR,
    BILLBOARD,
    GLASS,
    OPENING,
    WATER,
    DARK_PATCH,
) = range(len(CLASSES))
_CAPTION_ORDER = (
    PERSON,
    MANNEQUIN,
    MOVING_CAR,
    PARKED_CAR,
    BILLBOARD,
    GLASS,
    OPENING,
    WATER,
    DARK_PATCH,
    VEGETATION,
    BUILDING,
)


def caption_of(shares: Sequence[float] | np.ndarray, night: bool, minimum: float = 0.004) -> str:
    """One line that names what the label map holds.

    shares: (13,) fraction of the pixels per class. Classes below `minimum` are left out.
    """
    things = [CLASSES[i].phrase for i in _CAPTION_ORDER if shares[i] >= minimum] or ["nothing"]
    listed = " and ".join(filter(None, [", ".join(things[:-1]), things[-1]]))
    return f"a street {'at night' if night else 'by day'} with {listed}"
