"""One simulated street through readers and representations: sensors that measure the same thing must agree.

The simulator renders each sensor from the scene's geometry and knows nothing of the code under test.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from armseg_core.sensors import SENSORS
from armseg_core.sensors.recognition import sniff
from armseg_core.sensors.representations import get_representation, model_tensor
from armseg_core.simulate import simulate


@pytest.fixture(scope="module")
def tensors(tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("street")
    simulate(folder, 1, seed=11, size=(96, 120), progress=False, sensors=("depth", "light_field", "lidar"))
    scene = next(path for path in folder.iterdir() if path.is_dir() and path.name != "splits")
    options = {"depth": {"depth_unit": "mm"}}
    sources = {"depth": "depth.png", "light_field": "light_field", "lidar": "lidar.bin"}
    return {name: tensor_of(scene / file, options.get(name, {})) for name, file in sources.items()}


def tensor_of(path: Path, values: dict) -> np.ndarray:
    reader = sniff(path)
    options = SENSORS[reader.modality].options.parse(values)
    made = get_representation(reader.modality).make(reader.read(path, options), options)
    frame, channels = made.values, made.channels
    return model_tensor(reader.modality, frame, channels)


def test_lidar_and_depth_camera_see_the_same_distances(tensors):
    depth, lidar = tensors["depth"][0], tensors["lidar"][0]
    both = (depth > 0) & (lidar > 0)
    assert both.mean() > 0.1
    assert np.median(np.abs(depth - lidar)[both] / depth[both]) < 0.02


def test_disparity_times_depth_is_one_constant(tensors):
    """Disparity = focal length x baseline / depth, so their product is the same everywhere, and positive."""
    depth, (disparity, confidence, _) = tensors["depth"][0], tensors["light_field"]
    seen = (depth > 0) & (confidence > 0.5)
    assert seen.mean() > 0.5
    product = (disparity * depth)[seen]
    constant = np.median(product)
    assert constant > 0
    assert np.mean(np.abs(product - constant) < 0.1 * constant) > 0.7
