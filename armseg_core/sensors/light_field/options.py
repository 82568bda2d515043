"""Options of light fields."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from armseg_core.sensors.options import SizedOptions


class LightFieldOptions(SizedOptions):
    """How a light field is read and which of its views are kept."""

    angular: int | None = Field(
        None, ge=2, le=64, description="Views per side of a lenslet / ESLF picture (Lytro Illum: 14)."
    )
    central: int | None = Field(
        None, ge=1, description="Keep only this many central views per side (outer lenslet views are dark)."
    )
    grid_order: Literal["auto", "rows", "columns"] = Field(
        "auto",
        description="What the first of two view numbers counts, rows or columns of views (auto: rows, unless "
        "the pictures fit columns clearly better, which is said).",
    )
    views: Literal["all", "row", "column", "cross", "star", "center"] = Field(
        "all", description="Views kept: all, the central row or column, both, these with diagonals, or one."
    )
    # free choice: less than 1 px from plane to plane in the default range
    planes: int = Field(8, ge=1, le=128, description="Planes of focal_stack.")
    # free choice; cost and wrong matches grow with the range
    disparity_range: float = Field(
        3.0, gt=0, le=16, description="Largest disparity searched and refocused to, in pixels per view step."
    )
