"""Options of depth pictures."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from armseg_core.sensors.options import SizedOptions, numbers


class DepthOptions(SizedOptions):
    """What the values of a depth picture mean, and the camera behind it."""

    depth_unit: (
        Literal[
            "mm",
            "cm",
            "m",
            "kitti256",
            "tum5000",
            "sunrgbd",
            "kinect11",
            "carla",
            "cityscapes",
            "disparity256",
            "disparity",
            "relative",
            "hha",
        ]
        | None
    ) = Field(
        None, description="Meaning of the stored values (16-bit PNG: mm, others: m, each said when assumed)."
    )
    depth_scale: float | None = Field(
        None, gt=0, description="Meters per count, instead of --depth-unit (RealSense L515: 0.00025)."
    )
    near: Literal["great", "small"] | None = Field(
        None,
        description="Near values of relative depth: great (disparity, MiDaS; taken when not given) or small.",
    )
    intrinsics: str | None = Field(
        None, description="fx,fy,cx,cy in pixels (default: calib.json beside the file), for hha and normals."
    )
    baseline: float | None = Field(None, gt=0, description="Stereo baseline in meters, for disparity units.")
    frame: int = Field(0, ge=0, description="Frame of a file that holds many (NYUv2 .mat).")

    @field_validator("intrinsics")
    @classmethod
    def _intrinsics(cls, value: str | None) -> str | None:
        expected = "fx,fy,cx,cy with positive focal lengths, such as 525,525,319.5,239.5"
        if value is not None and min(numbers(value, (4,), expected)[:2]) <= 0:
            raise ValueError(expected)
        return value

    @model_validator(mode="after")
    def _one_meaning(self) -> DepthOptions:
        if self.depth_scale is not None and self.depth_unit is not None:
            raise ValueError("depth_scale or depth_unit, not both")
        if self.near is not None and self.depth_unit != "relative":
            raise ValueError("near together with depth_unit relative")
        return self

    @property
    def camera(self) -> tuple[float, ...] | None:
        """`intrinsics` as (fx, fy, cx, cy)."""
        return None if self.intrinsics is None else numbers(self.intrinsics, (4,), "fx,fy,cx,cy")
