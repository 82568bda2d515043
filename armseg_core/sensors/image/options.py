"""Options of aligned pictures."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator, model_validator

from armseg_core.sensors.options import SizedOptions, numbers

_RANGE = "low and high, such as 0,4000, or one such pair for each channel: 0,4000,0,1"
_BANDS = "numbers of bands from 1, such as 3,4"


def _listed(value: Any, counts: tuple[int, ...], expected: str) -> Any:
    """Numbers given as text, as in a flag."""
    if not isinstance(value, str):
        return value
    return numbers(value.strip().removeprefix("[").removesuffix("]"), counts, expected)


def _range(value: Any) -> Any:
    return _listed(value, tuple(range(2, 513, 2)), _RANGE)


def _pair(value: Any) -> Any:
    return _listed(value, (2,), "two percentiles, such as 1,99")


def _bands(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return _listed(value, tuple(range(1, 257)), _BANDS)


class ImageOptions(SizedOptions):
    """Which bands of a picture are used, and how their values become numbers from 0 to 1."""

    range: Annotated[tuple[float, ...] | None, BeforeValidator(_range)] = Field(
        None,
        description="Stored values that become 0 and 1, for all channels or low, high of each "
        "(default: the range of 8 or 16 bits; else percentiles 1,99).",
    )
    percentiles: Annotated[tuple[float, float] | None, BeforeValidator(_pair)] = Field(
        None, description="In place of --range: percentiles of each picture and channel that become 0 and 1."
    )
    nodata: float | None = Field(
        None, description="Stored value of pixels without a measurement; they become 0, as NaN does."
    )
    bands: Annotated[tuple[int, ...] | None, BeforeValidator(_bands)] = Field(
        None, description="Bands of the file to use, counted from 1, in this order (default: all)."
    )
    crop_left: int = Field(0, ge=0, description="Columns of the picture cut off at the left.")

    @field_validator("range")
    @classmethod
    def _pairs(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        pairs = zip(value[::2], value[1::2], strict=False)
        if len(value) % 2 or not value or not all(map(math.isfinite, value)) or any(a >= b for a, b in pairs):
            raise ValueError(_RANGE)
        return value

    @field_validator("percentiles")
    @classmethod
    def _ordered(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] < value[1] <= 100:
            raise ValueError("two percentiles from 0 to 100, the smaller one first, such as 1,99")
        return value

    @field_validator("bands")
    @classmethod
    def _counted(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (not value or min(value) < 1):
            raise ValueError(_BANDS)
        return value

    @model_validator(mode="after")
    def _one_scale(self) -> ImageOptions:
        if self.range is not None and self.percentiles is not None:
            raise ValueError("range or percentiles, not both")
        return self
