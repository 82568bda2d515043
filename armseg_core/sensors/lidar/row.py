"""The row of the LiDAR."""

from __future__ import annotations

from armseg_core.sensors.lidar.options import LidarOptions
from armseg_core.sensors.lidar.panels import panels, picture, shown
from armseg_core.sensors.lidar.readers import LIDAR_READERS
from armseg_core.sensors.lidar.representations import LIDAR_REPRESENTATIONS
from armseg_core.sensors.modality import Modality

SENSOR = Modality(
    name="lidar",
    title="LiDAR",
    prompt="LiDAR range image",
    channels=("depth", "intensity", "valid"),
    # m: the range of a Velodyne HDL-64E, which recorded KITTI
    value_range=(0.0, 120.0),
    representation="projected",
    nearest=("depth", "intensity", "valid"),
    # free choice: one color per channel; red is full at 83 m, few points are farther
    pseudo_rgb=((0.012, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    aliases=("pointcloud",),
    words=("velodyne", "point", "cloud"),
    options=LidarOptions,
    readers=LIDAR_READERS,
    representations=LIDAR_REPRESENTATIONS,
    picture=picture,
    panels=panels,
    shown=shown,
)
