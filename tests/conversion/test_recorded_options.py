"""The model folder remembers how its data set's raw files were converted, and `predict` reads new ones
alike."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from small_models import small_model

from armseg_core.conversion.convert import to_tensor
from armseg_core.data.sample import ClassInfo
from armseg_core.learning.model import KnownDataSet
from armseg_core.learning.model_folder import load, save
from armseg_core.learning.prediction import Predictor


def test_predict_uses_the_options_of_training(small_clip, tmp_path: Path, monkeypatch) -> None:
    classes = (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200)))
    dataset = KnownDataSet("kitti", classes, {"depth": {"depth_unit": "kitti256"}})
    save(small_model(small_clip, ("depth",), datasets=(dataset,)), tmp_path / "model")
    model = load(tmp_path / "model")
    assert model.datasets[0].options == {"depth": {"depth_unit": "kitti256"}}

    cv2.imwrite(str(tmp_path / "rgb.png"), np.full((48, 64, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "depth.png"), np.full((48, 64), 2560, np.uint16))
    seen = []
    predictor = Predictor(model)
    monkeypatch.setattr(
        predictor,
        "predict_arrays",
        lambda rgb, sensors, *_: (
            seen.append(sensors["depth"])
            or (np.zeros(rgb.shape[1:], np.uint8), np.ones(rgb.shape[1:], np.float32))
        ),
    )
    predictor.predict(tmp_path / "rgb.png", tmp_path / "depth.png")
    predictor.predict(tmp_path / "rgb.png", tmp_path / "depth.png", options={"depth_unit": "mm"})
    assert np.allclose(seen[0][0], 10.0)  # 2560 / 256 m
    assert np.allclose(seen[1][0], 2.56)  # what is asked for wins
    explicit = to_tensor(tmp_path / "depth.png", modality="depth", options={"depth_unit": "kitti256"}).frames[
        0
    ]
    assert np.array_equal(seen[0], explicit)
