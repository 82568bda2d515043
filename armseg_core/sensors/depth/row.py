"""The row of the depth camera."""

from __future__ import annotations

from armseg_core.sensors.depth.options import DepthOptions
from armseg_core.sensors.depth.panels import panels, picture
from armseg_core.sensors.depth.readers import DEPTH_READERS
from armseg_core.sensors.depth.representations import DEPTH_REPRESENTATIONS, model_tensor
from armseg_core.sensors.modality import Modality


def _usual_representation(options: DepthOptions) -> str:
    """Depth without a unit has no meters to show."""
    return "relative" if options.depth_unit == "relative" else "metric"


SENSOR = Modality(
    name="depth",
    title="depth camera",
    prompt="depth map",
    channels=("depth", "valid", "inverse_depth"),
    # m: the cap of the usual evaluation on KITTI
    value_range=(0.0, 80.0),
    representation="metric",
    nearest=("depth", "valid", "inverse_depth"),
    # Inverse depth (1/m) is what looks like an image: near is bright, white from 0.5 m. Valid pixels get a
    # little green and far ones blue (1 at 100 m), so that they differ from pixels without a measurement.
    pseudo_rgb=((0.0, 0.0, 0.01), (0.0, 0.2, 0.0), (2.0, 2.0, 2.0)),
    words=("disparity", "disp", "hha"),
    options=DepthOptions,
    readers=DEPTH_READERS,
    representations=DEPTH_REPRESENTATIONS,
    representation_for=_usual_representation,
    model_tensor=model_tensor,
    picture=picture,
    panels=panels,
)
