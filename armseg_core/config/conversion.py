"""Options of `armseg convert`: one group per sensor, every field with its default, help and checks.

The name of a field is the name of its flag with '_' for '-'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


def _positive_size(value: tuple[int, int]) -> tuple[int, int]:
    if min(value) < 1:
        raise ValueError("a size of at least 1x1")
    return value


# microseconds; text such as '50ms' is understood
Duration = Annotated[int, BeforeValidator(_duration), Field(gt=0)]
# (H, W); text such as '640x480' (width x height) is understood
Size = Annotated[tuple[int, int], BeforeValidator(_size)]


class EventOptions(Options):
    """How an event recording is read, cut into windows and turned into frames."""

    # windows
    window: Duration = Field(50_000, description="Length of a window (50ms, 20000us, 0.1s).")
    count: int | None = Field(None, ge=1, description="Events per window, instead of a fixed time.")
    end_times: Path | None = Field(
        None, description="Text file of label times in absolute microseconds: one window ending at each.")
    # frames
    bins: int = Field(5, ge=1, le=256, description="Time bins of the voxel grids.")
    stack: int = Field(10, ge=1, le=256, description="Time slices of stacked_histogram and frames of mdes.")
    norm: Literal["dsec", "none"] = Field(
        "dsec", description="Voxel grids: dsec = zero mean and unit deviation over the non-zero cells.")
    size: Size | None = Field(
        None, description="Size of the frames; coordinates are scaled (default: the sensor's own).")
    tau: Duration = Field(30_000, description="Decay time of time_surface.")
    depth: int = Field(3, ge=1, le=64, description="Most recent events per pixel and polarity kept by tore.")
    clip: int = Field(255, ge=1, le=65535, description="Largest count of a stacked_histogram cell.")
    # reading
    sensor_size: Size | None = Field(
        None, description="Resolution of the sensor, where the file does not say it.")
    rectify_map: Path | None = Field(
        None, description="DSEC rectify_map.h5 (default: the file of that name beside the recording).")
    rectify: bool = Field(True, description="Undistort the coordinates when there is a rectify map.")
    time_unit: Literal["auto", "s", "ms", "us", "ns"] = Field(
        "auto", description="Unit of the recorded times, for formats that do not fix it.")
    columns: str | None = Field(
        None, description="Column order of text and N x 4 files, such as txyp or xytp.")
    polarity_missing: bool = Field(
        False, description="Accept a recording without polarity: every event counts as positive.")
    hot_pixels: float | None = Field(
        None, gt=1, description="Drop pixels with more than this many times the median count around them.")
    crop_bottom: int = Field(0, ge=0, description="Sensor rows cut off at the bottom (DSEC-Semantic: 40).")

    @field_validator("columns")
    @classmethod
    def _columns(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.lower().replace(",", "").replace(" ", "")
        if sorted(value) not in (sorted("txyp"), sorted("txy")):
            raise ValueError("the letters t, x, y and p in the order of the columns, such as txyp")
        return value

    @field_validator("size", "sensor_size")
    @classmethod
    def _sizes(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        return None if value is None else _positive_size(value)


OPTIONS: dict[str, type[Options]] = {  # modality -> its options
    "event": EventOptions,
}
