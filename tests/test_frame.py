"""Frame: what it accepts and how it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from armseg_core.arrays import Frame
from armseg_core.errors import FormatError


def make(values: np.ndarray, names: int = 2, value_range: tuple[float, float] = (0.0, 1.0)) -> Frame:
    channels = tuple("ab"[:names])
    return Frame(values, channels, ("m",) * names, value_range)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "uint16"])
def test_the_types_of_a_tensor_file_are_accepted(dtype: str) -> None:
    made = make(np.ones((2, 3, 4), dtype))
    assert made.t_us == 0
    assert make(np.ones((2, 0, 4), dtype)).values.size == 0


def test_large_finite_values_are_accepted_although_their_sum_overflows() -> None:
    make(np.full((2, 3, 4), np.finfo(np.float32).max, np.float32))
    make(np.full((2, 300, 400), np.finfo(np.float16).max, np.float16))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_channel(bad: float) -> None:
    values = np.zeros((2, 3, 4), np.float32)
    values[1, 2, 1:3] = bad
    with pytest.raises(FormatError, match="not finite: 2 of b"):
        make(values)


def test_infinities_that_cancel_are_refused() -> None:
    values = np.zeros((2, 3, 4), np.float32)
    values[0, 0, 0], values[1, 0, 0] = np.inf, -np.inf
    with pytest.raises(FormatError, match="1 of a, 1 of b"):
        make(values)


@pytest.mark.parametrize(
    ("values", "names", "value_range", "what"),
    [
        (np.zeros((3, 4), np.float32), 2, (0, 1), "shape"),
        (np.zeros((3, 3, 4), np.float32), 2, (0, 1), "2 channel names"),
        (np.zeros((2, 3, 4)), 2, (0, 1), "float64"),
        (np.zeros((2, 3, 4), bool), 2, (0, 1), "bool"),
        (np.zeros((2, 3, 4), np.float32), 2, (1, 0), "range 1 to 0"),
        (np.zeros((2, 3, 4), np.float32), 2, (0, float("inf")), "range"),
        (np.zeros((2, 3, 4), np.float32), 2, (0, float("nan")), "range"),
    ],
)
def test_what_does_not_agree_is_refused(values, names, value_range, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        make(values, names, value_range)


def test_every_channel_has_a_unit() -> None:
    with pytest.raises(FormatError, match="1 units"):
        Frame(np.zeros((2, 3, 4), np.float32), ("a", "b"), ("m",), (0.0, 1.0))
