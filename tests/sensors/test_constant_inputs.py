"""Every representation of every sensor, given data without any structure: always a valid frame.

`Frame` checks itself on construction (shapes, dtype, finite values), so making one is the test.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from armseg_core.arrays import (
    Calibration,
    Depth,
    EventMoments,
    EventPicture,
    Events,
    Frame,
    HhaImage,
    LightField,
    PointCloud,
    PolarizedImages,
    Stokes,
    Thermal,
)
from armseg_core.errors import ArmsegWarning, UsageError
from armseg_core.sensors import SENSORS
from armseg_core.sensors.representation import Representation

H, W = 24, 40
K = np.array([[30.0, 0, W / 2], [0, 30, H / 2], [0, 0, 1]])


def events(n: int, t: int = 1000) -> Events:
    place = np.full(n, 3, np.uint16)
    return Events(place, place, np.full(n, t, np.int64), np.ones(n, np.uint8), (H, W))


def full(value: float, *shape: int) -> np.ndarray:
    return np.full(shape or (H, W), value, np.float32)


def field(value: int, dtype: str, views: int = 5) -> LightField:
    return LightField(np.full((views, views, H, W, 3), value, dtype))


def depth(value: float, valid: bool) -> Depth:
    return Depth(full(value), np.full((H, W), valid), K)


def cloud(*points: tuple[float, float, float]) -> PointCloud:
    table = np.array(points, np.float32).reshape(-1, 3)
    return PointCloud(table, np.zeros(len(table), np.float32), Calibration(K, np.eye(4), (H, W)))


def light(value: float, angles: int = 4, saturated: bool = False) -> PolarizedImages:
    degrees = tuple(180.0 * i / angles for i in range(angles))
    return PolarizedImages(full(value, angles, H, W), degrees, np.full((H, W), saturated))


INPUTS = {
    "event": {
        "no events": events(0),
        "one event": events(1),
        "one event at time 0": events(1, 0),
        "events of one time and pixel": events(50),
        "empty picture": EventPicture(full(0)),
        "full picture": EventPicture(full(1)),
        "no moments": EventMoments(*(full(0, 2, H, W) for _ in range(3))),
        "one event everywhere": EventMoments(full(1, 2, H, W), full(0.5, 2, H, W), full(0, 2, H, W)),
    },
    "thermal": {
        "black counts": Thermal(full(0), "counts"),
        "full counts": Thermal(full(65535), "counts"),
        "warm": Thermal(full(21.5), "celsius"),
        "nothing finite": Thermal(full(np.nan), "celsius"),
        "nothing finite in counts": Thermal(full(np.inf), "counts"),
    },
    "depth": {
        "all invalid": depth(0, False),
        "wall": depth(2.5, True),
        "invalid numbers": depth(np.nan, False),
        "nearest": depth(1e-30, True),
        "no HHA": HhaImage(np.zeros((3, H, W), np.uint8)),
        "flat HHA": HhaImage(np.full((3, H, W), 128, np.uint8)),
    },
    "lidar": {
        "no point": cloud(),
        "one point": cloud((0, 0, 5)),
        "points at the camera": cloud((0, 0, 0), (0, 0, 1e-30), (np.nan, 0, 1), (1, 1, -1)),
    },
    "polarization": {
        "dark": light(0),
        "gray": light(0.5),
        "saturated": light(1, saturated=True),
        "three angles": light(0.5, 3),
        "no light": Stokes(full(0, 3, H, W), np.zeros((H, W), bool)),
        "all polarized": Stokes(full(1, 3, H, W), np.zeros((H, W), bool)),
    },
    "light_field": {
        "black": field(0, "uint8"),
        "gray": field(93, "uint8"),
        "white": field(255, "uint8"),
        "wide gray": field(40_000, "uint16"),
        "even grid": field(93, "uint8", 4),
        "one view": field(93, "uint8", 1),
        "dark half": LightField(
            np.where(np.arange(W)[:, None] < W // 2, np.uint8(0), np.uint8(250))
            * np.ones((5, 5, H, W, 3), np.uint8)
        ),
    },
}
OPTION_SETS = {
    "event": ({}, {"norm": "none"}, {"size": "20x12"}),
    "thermal": ({"thermal_unit": "kelvin"}, {"thermal_unit": "kelvin", "size": "20x12"}),
}


def cases() -> Iterator[tuple[Representation, str]]:
    return (
        (row, what)
        for name, sensor in SENSORS.items()
        for row in sensor.representations
        for what in INPUTS[name]
    )


def test_every_sensor_has_inputs() -> None:
    assert set(INPUTS) == set(SENSORS)


@pytest.mark.parametrize(("row", "what"), cases(), ids=lambda x: x if isinstance(x, str) else x.name)
def test_data_without_structure_gives_a_valid_frame(row: Representation, what: str) -> None:
    data = INPUTS[row.modality][what]
    window = (0, 50_000) if isinstance(data, Events) else ()
    for values in OPTION_SETS.get(row.modality, ({}, {"size": "20x12"})):
        options = SENSORS[row.modality].options.parse(values)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ArmsegWarning)  # "no point falls into the picture", ...
            try:
                made = row(data, options, *window)
            except UsageError:  # a representation this kind of data cannot have
                assert isinstance(data, EventPicture | EventMoments | HhaImage)
                continue
        assert isinstance(made, Frame)
        assert made.t_us == (50_000 if window else 0)
        if "size" in values and row.name != "macropixel":
            assert made.values.shape[1:] == (12, 20)
