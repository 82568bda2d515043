"""Augmentation: one geometry for image, label and sensors; flips that keep the physics; determinism."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from armseg_core.conversion.convert import to_tensor
from armseg_core.data.sample import Sample
from armseg_core.errors import UsageError
from armseg_core.learning.augment import Augment, flip, flip_tensor, jitter, random_crop
from armseg_core.sensors.modalities import MODALITIES, SENSORS

H, W = 40, 56


def noise_sample(seed: int = 0, size: tuple[int, int] = (H, W)) -> Sample:
    rng = np.random.default_rng(seed)
    sensors = {
        name: rng.standard_normal((MODALITIES[name].num_channels, *size), np.float32) for name in SENSORS
    }
    return Sample("s", rng.random((3, *size), np.float32), rng.integers(0, 9, size), sensors)


def square_sample(top: int, left: int, side: int) -> Sample:
    """0 but for one square of 1 (label 7) in image, label and every channel (DoLP for polarization)."""
    mask = np.zeros((H, W), np.float32)
    mask[top : top + side, left : left + side] = 1
    planes = {name: np.repeat(mask[None], MODALITIES[name].num_channels, 0) for name in SENSORS}
    planes["polarization"] = np.stack([np.ones_like(mask), mask, np.zeros_like(mask), mask])
    return Sample("s", np.repeat(mask[None], 3, 0), (mask * 7).astype(np.int64), planes)


def same(a: Sample, b: Sample) -> bool:
    return (
        np.array_equal(a.rgb, b.rgb)
        and np.array_equal(a.label, b.label)
        and all(np.array_equal(a.sensors[n], b.sensors[n]) for n in a.sensors)
    )


def test_flipping_twice_gives_the_sample_back() -> None:
    sample = noise_sample()
    assert not same(sample, flip(sample))
    assert same(sample, flip(flip(sample)))


@pytest.mark.parametrize("name", SENSORS)
def test_flip_mirrors_every_channel_and_negates_the_angle_channels_only(name: str) -> None:
    tensor = noise_sample().sensors[name]
    flipped = flip_tensor(tensor, name)
    for index, channel in enumerate(MODALITIES[name].channels):
        sign = -1 if channel == "sin2aolp" else 1
        np.testing.assert_array_equal(flipped[index], sign * tensor[index, :, ::-1])


def stokes_tensor(angle: np.ndarray, degree: np.ndarray, s0: np.ndarray) -> np.ndarray:
    """The model tensor of light with that angle (radians) and degree of polarization, by way of Malus' law.

    A polarizer at angle a passes (s0 / 2) (1 + degree cos(2 (angle - a))).
    """
    i0, i45, i90, i135 = (
        s0 / 2 * (1 + degree * np.cos(2 * (angle - np.deg2rad(polarizer)))) for polarizer in (0, 45, 90, 135)
    )
    s1, s2 = i0 - i90, i45 - i135
    linear = np.hypot(s1, s2)
    total = (i0 + i45 + i90 + i135) / 2
    return np.stack([total, linear / total, s2 / linear, s1 / linear]).astype(np.float32)


def test_flip_of_stokes_is_the_stokes_of_the_mirrored_scene() -> None:
    """In a mirror a wire at angle A stands at angle -A (180 degrees - A): the camera would measure that."""
    rng = np.random.default_rng(1)
    angle = rng.uniform(0, np.pi, (H, W))
    degree, s0 = rng.uniform(0.1, 0.9, (H, W)), rng.uniform(0.2, 1, (H, W))
    mirrored_scene = stokes_tensor(np.pi - angle[:, ::-1], degree[:, ::-1], s0[:, ::-1])
    flipped = flip_tensor(stokes_tensor(angle, degree, s0), "polarization")
    np.testing.assert_allclose(flipped, mirrored_scene, atol=1e-5)


def test_flip_of_a_mosaic_before_conversion_is_the_flip_of_the_stokes_tensor_after_it(tmp_path: Path) -> None:
    """Mirroring the raw mosaic swaps its columns, and a polarizer at 45 degrees becomes one at 135."""
    mosaic = np.random.default_rng(2).integers(200, 3800, (H, W)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "plain.png"), mosaic)
    cv2.imwrite(str(tmp_path / "mirrored.png"), mosaic[:, ::-1])

    def convert(name: str, pattern: str) -> np.ndarray:
        options = {"pattern": pattern, "bits": 12}
        return to_tensor(tmp_path / name, modality="polarization", options=options).frames[0]

    after = flip_tensor(convert("plain.png", "90,45,135,0"), "polarization")
    before = convert("mirrored.png", "135,90,0,45")
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("seed", range(12))
def test_image_label_and_sensors_stay_registered_under_zoom_crop_and_flip(seed: int) -> None:
    augment = Augment(crop=(32, 48), scale=(0.6, 1.8), photometric=False)
    out = augment(square_sample(14, 20, 12), np.random.default_rng(seed))
    wanted = out.label == 7
    assert wanted.any()
    center = np.argwhere(wanted).mean(0)
    planes = {
        "rgb": out.rgb[0],
        **{
            f"{name}/{i}": plane
            for name, tensor in out.sensors.items()
            for i, plane in enumerate(tensor)
            if name != "polarization" or i == 1
        },
    }
    for name, plane in planes.items():
        found = plane > 0.5
        assert np.abs(np.argwhere(found).mean(0) - center).max() < 0.8, name
        assert (found != wanted).sum() <= wanted.sum() * 0.25, name  # the edges of the square may differ


def test_crops_come_from_all_over_the_sample() -> None:
    rows, columns = np.mgrid[:H, :W]
    sample = Sample("s", np.zeros((3, H, W), np.float32), rows * 100 + columns)
    corners = {
        int(random_crop(sample, (H - 3, W - 2), (1, 1), np.random.default_rng(seed)).label[0, 0])
        for seed in range(120)
    }
    assert corners == {100 * row + column for row in range(4) for column in range(3)}


def test_zoom_changes_the_size_of_things_and_not_their_depth() -> None:
    sample = square_sample(14, 20, 12)
    sample.sensors["depth"][0] *= 7.5  # meters
    out = random_crop(sample, (2 * H, 2 * W), (2.0, 2.0), np.random.default_rng(0))
    assert (out.label == 7).sum() == 4 * 12 * 12
    assert set(np.unique(out.sensors["depth"][0])) == {0.0, 7.5}


def test_nearest_channels_and_labels_take_no_new_values() -> None:
    sample = noise_sample()
    values = set(np.unique(sample.sensors["depth"])) | {0.0}
    for seed in range(5):
        out = Augment(crop=(33, 47), scale=(0.5, 2.0))(sample, np.random.default_rng(seed))
        assert set(np.unique(out.sensors["depth"])) <= values
        assert set(np.unique(out.label)) <= set(range(9)) | {255}


def test_padding_is_ignored_by_the_label_and_zero_elsewhere() -> None:
    ones = np.ones((3, H, W), np.float32)
    sample = Sample("s", ones, np.full((H, W), 3), {"thermal": ones[:1]})
    out = random_crop(sample, (64, 64), (0.5, 0.5), np.random.default_rng(3), ignore_index=77)
    assert out.size == (64, 64)
    inside = out.label == 3
    assert inside.sum() == (H // 2) * (W // 2)
    assert (out.label[~inside] == 77).all()
    np.testing.assert_array_equal(out.rgb[0], inside)
    np.testing.assert_array_equal(out.sensors["thermal"][0], inside)


def test_scale_one_and_full_size_is_the_sample_itself() -> None:
    sample = noise_sample()
    augment = Augment((H, W), (1.0, 1.0), hflip=False, photometric=False)
    assert same(sample, augment(sample, np.random.default_rng(0)))


def test_the_same_generator_state_gives_the_same_sample_and_the_input_is_never_written() -> None:
    sample, before = noise_sample(), noise_sample()
    augment = Augment((32, 32))
    first = augment(sample, np.random.default_rng(5))
    assert same(first, augment(sample, np.random.default_rng(5)))
    assert not same(first, augment(sample, np.random.default_rng(6)))
    assert same(sample, before)


def test_photometric_changes_touch_the_rgb_image_only() -> None:
    sample = noise_sample()
    plain = Augment((32, 32), photometric=False)(sample, np.random.default_rng(5))
    jittered = Augment((32, 32), photometric=True)(sample, np.random.default_rng(5))
    assert not np.array_equal(plain.rgb, jittered.rgb)
    assert all(np.array_equal(plain.sensors[n], jittered.sensors[n]) for n in SENSORS)
    assert jittered.rgb.min() >= 0
    assert jittered.rgb.max() <= 1


def test_jitter_moves_brightness_both_ways() -> None:
    image = np.full((3, 16, 16), 0.5, np.float32)
    means = [jitter(image, np.random.default_rng(seed)).mean() for seed in range(40)]
    assert min(means) < 0.45 < 0.55 < max(means)


def test_a_sample_without_label_or_sensors_is_fine() -> None:
    out = Augment((16, 16))(Sample("s", np.ones((3, 8, 8), np.float32), None), np.random.default_rng(0))
    assert out.label is None
    assert out.sensors == {}


@pytest.mark.parametrize(("crop", "scale"), [((0, 8), (1, 1)), ((8, 8), (0, 1)), ((8, 8), (2, 1))])
def test_impossible_settings_are_refused(crop: tuple[int, int], scale: tuple[float, float]) -> None:
    with pytest.raises(UsageError):
        Augment(crop, scale)
