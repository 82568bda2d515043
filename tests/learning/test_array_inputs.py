"""Images and model tensors in memory: what is accepted, and what is refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import small_model

from armseg_core.conversion.convert import to_tensor
from armseg_core.data.sample import ClassInfo
from armseg_core.errors import UsageError
from armseg_core.files.pictures import save_png
from armseg_core.learning.array_inputs import image_input, model_inputs, unit_image
from armseg_core.learning.model import KnownDataSet
from armseg_core.learning.prediction import Predictor

PHOTO = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
UNIT = (PHOTO.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)


@pytest.fixture(scope="module")
def predictor(small_clip) -> Predictor:
    known = KnownDataSet("scenes", (ClassInfo("near", (200, 80, 40)), ClassInfo("far", (40, 80, 200))))
    return Predictor(small_model(small_clip, ("depth", "thermal"), datasets=(known,)))


@pytest.mark.parametrize(
    "image",
    [
        PHOTO,
        PHOTO.transpose(2, 0, 1),
        PHOTO.astype(np.uint16) * 257,
        np.dstack([PHOTO, PHOTO[..., :1]]),
        UNIT,
        UNIT.transpose(1, 2, 0),
        UNIT.astype(np.float64),
    ],
    ids=["HWC", "CHW", "uint16", "alpha", "unit", "unit HWC", "float64"],
)
def test_images_of_every_layout_are_the_same(image: np.ndarray) -> None:
    made = unit_image(image)
    assert (made.dtype, made.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_allclose(made, UNIT, atol=1e-6)


def test_a_path_a_pil_image_and_gray(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", PHOTO)
    np.testing.assert_array_equal(image_input(tmp_path / "a.png")[0], UNIT)
    np.testing.assert_array_equal(image_input(Image.fromarray(PHOTO))[0], UNIT)
    gray = image_input(Image.fromarray(PHOTO[..., 0]))[0]
    np.testing.assert_array_equal(gray, np.repeat(UNIT[:1], 3, axis=0))
    np.testing.assert_array_equal(unit_image(PHOTO[..., 0]), gray)


def test_a_pil_image_that_is_turned_is_put_upright() -> None:
    turned = Image.fromarray(PHOTO)
    turned.getexif()[0x0112] = 6  # EXIF orientation: to be turned by 90 degrees
    assert image_input(turned)[0].shape == (3, 32, 24)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (UNIT * 255, r"image: float32 values from 0 to 255 \(expected floats from 0 to 1.*Try: image / 255"),
        (PHOTO.astype(np.int64), "int64 values"),
        (np.full((3, 4, 4), np.nan, np.float32), "values from nan"),
        (UNIT[None], r"shape \(1, 3, 24, 32\).*one image"),
        (UNIT[:2], r"shape \(2, 24, 32\)"),
        (np.array([["a"]]), "a ndarray"),
        (None, "a NoneType"),
        (np.zeros((0, 4, 3)), "an array"),
    ],
)
def test_what_is_no_image_is_refused(image: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        unit_image(image)


@pytest.mark.parametrize(
    ("sensors", "said"),
    [
        ({"thermal": np.zeros((3, 8, 8), np.float32)}, r"thermal: .*expected \(1, H, W\)"),
        ({"depth": np.zeros((8, 8, 3), np.float32)}, r"depth: .*expected \(3, H, W\).*to_tensor"),
        ({"depth": np.zeros((3, 8, 8), np.uint16)}, "depth: uint16 values"),
        ({"depth": np.full((3, 8, 8), np.inf)}, "depth: values that are not finite"),
        ({"thermal": np.full((1, 8, 8), 30_000.0)}, "thermal: values from 30000 to 30000"),
        ({"smell": np.zeros((1, 8, 8))}, "smell"),
        ({}, "no inputs"),
    ],
)
def test_what_is_no_model_tensor_is_refused(sensors: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        model_inputs(None, sensors)


def test_predictions_of_arrays_are_those_of_their_files(predictor: Predictor, tmp_path: Path) -> None:
    meters = np.linspace(1, 9, 24 * 32, dtype=np.float32).reshape(24, 32)
    save_png(tmp_path / "rgb.png", PHOTO)
    np.save(tmp_path / "depth.npy", meters)
    options = {"depth_unit": "m"}
    of_files = predictor.predict(tmp_path / "rgb.png", tmp_path / "depth.npy", options=options)
    for image in (PHOTO, UNIT, Image.fromarray(PHOTO)):
        made = predictor.predict(image, meters, modalities=["depth"], options=options)
        np.testing.assert_array_equal(made.mask, of_files.mask)
        np.testing.assert_allclose(made.confidence, of_files.confidence, atol=1e-5)
    frame = to_tensor(meters, modality="depth", options=options).frames[0]
    np.testing.assert_array_equal(frame, to_tensor(tmp_path / "depth.npy", options=options).frames[0])
    direct = predictor.predict_arrays(PHOTO, {"depth": frame})
    unit = predictor.predict_arrays(UNIT, {"depth": frame})
    for one, other in zip(direct, unit, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match="from 0 to 1"):
        predictor.predict_arrays(UNIT * 255)


def test_a_pil_image_of_a_sensor() -> None:
    counts = np.linspace(7000, 9000, 24 * 32).reshape(24, 32).astype(np.uint16)
    made = to_tensor(Image.fromarray(counts), modality="thermal").frames[0]
    np.testing.assert_array_equal(made, to_tensor(counts, modality="thermal").frames[0])
