"""What the options of sensors are made of: durations, sizes, lists of numbers.

Each sensor has its own group in `<sensor>/options.py`: every field with its default, help and checks. The
name of a field is the name of its flag of `armseg convert` with '_' for '-'.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from armseg_core.config.base import Options, parse_duration_us, parse_size
from armseg_core.errors import UsageError


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration_us(value)
    except UsageError as error:
        raise ValueError(error.expected or error.what) from error


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_size(value)
    except UsageError as error:
        raise ValueError(error.expected or error.what) from error


def positive_size(value: tuple[int, int]) -> tuple[int, int]:
    """The (H, W) itself; ValueError, as validators raise it, when a side is below 1."""
    if min(value) < 1:
        raise ValueError("a size of at least 1x1")
    return value


# microseconds; text such as '50ms' is understood
Duration = Annotated[int, BeforeValidator(_duration), Field(gt=0)]
# (H, W); text such as '640x480' (width x height) is understood
Size = Annotated[tuple[int, int], BeforeValidator(_size)]


class SizedOptions(Options):
    """The ground of the group of a sensor that gives one frame per recording."""

    size: Size | None = Field(None, description="Size of the frame, such as 640x480 (default: the sensor's).")

    @field_validator("size")
    @classmethod
    def _size(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else positive_size(value)


def numbers(text: str, counts: tuple[int, ...], expected: str) -> tuple[float, ...]:
    """'1,2;3' as finite numbers; ValueError with `expected` when it is anything else or not `counts` many."""
    try:
        values = tuple(float(part) for part in text.replace(";", ",").split(","))
    except ValueError as error:
        raise ValueError(expected) from error
    if len(values) not in counts or not all(math.isfinite(value) for value in values):
        raise ValueError(expected)
    return values
