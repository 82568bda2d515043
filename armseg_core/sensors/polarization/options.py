"""Options of polarized pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from armseg_core.sensors.options import SizedOptions, numbers

Bayer = Literal["none", "rggb", "bggr", "grbg", "gbrg"]


class PolarizationOptions(SizedOptions):
    """How polarized intensities are read and demosaiced."""

    # the cell of Sony's IMX250MZR and IMX264MZR; a region of interest or a flip changes it
    pattern: str = Field(
        "90,45,135,0",
        description="Polarizer angles of a 2x2 cell: top left, top right, bottom left, bottom right.",
    )
    bayer: Bayer = Field(
        "none", description="Color filter over the polarizers (quad-Bayer: rggb); none = gray sensor."
    )
    bits: int | None = Field(
        None, ge=8, le=16, description="Bits per sample, right-aligned (default: found and said)."
    )
    demosaic: Literal["bilinear", "half"] = Field(
        "bilinear", description="bilinear = full resolution; half = one pixel per 2x2 cell."
    )
    gamma: float = Field(
        1.0, gt=0, le=4, description="Gamma to undo (2.2 for pictures that are not linear); 1 = linear."
    )
    calibration: Path | None = Field(
        None,
        description="npy of (4, 4) or (H, W, 4, 4) correcting the intensities behind 0, 45, 90, 135 degrees.",
    )
    aolp_unit: Literal["rad", "deg"] = Field("rad", description="Unit of AoLP npy files.")
    crop_left: int = Field(0, ge=0, description="Columns of the picture cut off at the left (MCubeS: 192).")

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        expected = "the angles 0, 45, 90 and 135 in the order of the cell, such as 90,45,135,0"
        angles = numbers(value, (4,), expected)
        if sorted(angles) != [0, 45, 90, 135]:
            raise ValueError(expected)
        return ",".join(f"{angle:g}" for angle in angles)

    @property
    def cell(self) -> tuple[int, ...]:
        """`pattern` as four angles in degrees, row by row."""
        return tuple(int(part) for part in self.pattern.split(","))
