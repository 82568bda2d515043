"""Decoding RGB images and label maps: bit depth, orientation, palettes, and clear refusals."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from armseg_core.conversion.convert import to_tensor
from armseg_core.errors import FormatError, InputError
from armseg_core.files.pictures import read_color_label, read_image, read_label, read_rgb, to_unit

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 13, 3), np.uint8)
INDICES = RNG.integers(0, 12, (9, 13), np.uint8)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def test_an_8_bit_image_is_read_as_it_was_written(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", PIXELS)), PIXELS)


def test_a_16_bit_image_stays_16_bit_to_the_float(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (9, 13, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    image = read_rgb(tmp_path / "a.png")
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, pixels)
    restored = np.rint(to_unit(image).astype(np.float64) * 65535)
    np.testing.assert_array_equal(restored, pixels.transpose(2, 0, 1))


def test_alpha_is_dropped_and_gray_is_spread(tmp_path: Path) -> None:
    alpha = np.dstack([PIXELS, RNG.integers(0, 256, (9, 13, 1), np.uint8)])
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "a.png", alpha)), PIXELS)
    np.testing.assert_array_equal(read_rgb(save(tmp_path / "g.png", INDICES)), np.dstack([INDICES] * 3))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_exif_orientation_is_applied(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, :12] = 250  # left half bright
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise: the left becomes the top
    path = save(tmp_path / f"a.{suffix}", pixels, exif=exif)
    image = read_rgb(path)
    assert image.shape == (24, 8, 3)
    assert image[:10].min() > 200
    assert image[14:].max() < 50


def turned(path: Path, pixels: np.ndarray, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(path, pixels, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_every_orientation_turns_all_readings_alike(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = turned(tmp_path / f"a.{suffix}", PIXELS, orientation)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    for read in (read_rgb, read_image):
        got = read(path)
        assert got.shape == expected.shape
        assert np.abs(got.astype(int) - expected).max() <= 3  # the decoders of JPEG round differently


def test_a_photo_and_a_thermal_picture_of_one_device_lie_on_each_other(tmp_path: Path) -> None:
    """A phone with a thermal camera stores both lying on their side, to be shown turned clockwise."""
    photo, heat = np.zeros((48, 64, 3), np.uint8), np.full((48, 64), 40, np.uint8)
    photo[:24, :, 0], heat[:24] = 200, 220  # upper half red and hot as stored: the right half as seen
    rgb = read_rgb(turned(tmp_path / "photo.jpg", photo, 6))
    path = turned(tmp_path / "thermal.jpg", heat, 6)
    frame = to_tensor(path, modality="thermal").frames[0, 0]
    assert rgb.shape[:2] == frame.shape == (64, 48)
    for image in (rgb[..., 0] / 255, frame):
        assert image[:, 28:].min() > 0.5
        assert image[:, :20].max() < 0.4


def test_samples_of_16_bits_and_palettes_are_turned_too(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (9, 13), dtype=np.uint16)
    np.testing.assert_array_equal(read_image(turned(tmp_path / "a.png", pixels, 6)), np.rot90(pixels, -1))
    label = Image.fromarray(INDICES)
    label.putpalette([0] * 768)
    exif = Image.Exif()
    exif[0x0112] = 8
    label.save(tmp_path / "label.png", exif=exif)
    np.testing.assert_array_equal(read_label(tmp_path / "label.png"), np.rot90(INDICES))


def test_unit_range_is_the_range_of_the_dtype() -> None:
    for dtype in (np.uint8, np.uint16):
        top = np.iinfo(dtype).max
        values = to_unit(np.array([[[0, top, top // 2]]], dtype))
        assert values.dtype == np.float32
        assert values.shape == (3, 1, 1)
        np.testing.assert_allclose(values.ravel(), [0, 1, 0.5], atol=0.01)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a.{suffix}", RNG.integers(0, 256, (64, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FormatError, match="truncated"):
        read_rgb(path)


def test_bad_image_files_say_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    cv2.imwrite(str(tmp_path / "float.tiff"), PIXELS.astype(np.float32))
    messages = {"text.png": "not a readable image", "empty.png": "empty", "float.tiff": "float32"}
    for name, message in messages.items():
        with pytest.raises(FormatError, match=message):
            read_rgb(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read_rgb(tmp_path / "absent.png")
    with pytest.raises(InputError, match="folder"):
        read_rgb(tmp_path)


def test_an_indexed_label_gives_its_indices_and_not_its_colors(tmp_path: Path) -> None:
    image = Image.fromarray(INDICES)
    image.putpalette(RNG.integers(0, 256, 768, np.uint8).tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), INDICES)


@pytest.mark.parametrize(("bits", "values"), [(1, 2), (2, 4), (4, 16), (8, 256)])
@pytest.mark.parametrize("indexed", [False, True])
def test_labels_of_few_bits_keep_their_values(tmp_path: Path, bits: int, values: int, indexed: bool) -> None:
    """Image libraries stretch gray PNGs of 1, 2 and 4 bits to 0..255: class 3 must not become 51."""
    label = np.resize(np.arange(values, dtype=np.uint8), (9, 13))
    image = Image.fromarray(label)
    if indexed:
        image.putpalette([0] * 768)
    if bits == 1 and not indexed:
        image = Image.fromarray(label.astype(bool))
        image.save(tmp_path / "a.png")
    else:
        image.save(tmp_path / "a.png", bits=bits)
    assert (tmp_path / "a.png").read_bytes()[24] == bits
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), label)


def test_16_bit_and_npy_labels(tmp_path: Path) -> None:
    label = RNG.integers(0, 1000, (9, 13), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), label)
    np.save(tmp_path / "a.npy", label.astype(np.int32))
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), label)
    np.testing.assert_array_equal(read_label(tmp_path / "a.npy"), label)


def test_a_painted_label_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PIXELS)
    with pytest.raises(FormatError, match=r'colors, not class indices.*encoding = "color"'):
        read_label(path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_label_of_equal_channels_is_a_gray_one(tmp_path: Path, dtype: type, channels: int) -> None:
    label = np.arange(63, dtype=dtype).reshape(7, 9) * (1 if dtype is np.uint8 else 5)
    stacked = np.dstack([label] * 3 + [np.full_like(label, np.iinfo(dtype).max)] * (channels - 3))
    cv2.imwrite(str(tmp_path / "a.png"), stacked)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), label)
    stacked[2, 2, 0] += 1
    cv2.imwrite(str(tmp_path / "b.png"), stacked)
    with pytest.raises(FormatError, match="colors"):
        read_label(tmp_path / "b.png")


def test_a_gray_label_with_alpha_is_a_gray_one(tmp_path: Path) -> None:
    label = np.arange(63, dtype=np.uint8).reshape(7, 9)
    Image.fromarray(np.dstack([label, 255 - label])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label(tmp_path / "a.png"), label)


def test_colors_become_classes_only_exactly(tmp_path: Path) -> None:
    palette = np.array([[10, 20, 30], [0, 0, 0], [255, 255, 255]], np.uint8)
    painted = palette[np.array([[0, 1, 2], [2, 1, 0]])]
    painted[0, 0, 2] += 1  # one step off: no class
    label = read_color_label(save(tmp_path / "a.png", painted), palette, unknown=77)
    assert label.tolist() == [[77, 1, 2], [2, 1, 0]]


def test_bad_label_files_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 12, (64, 64), np.uint8)).save(buffer, "png")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:800])
    np.save(tmp_path / "float.npy", np.zeros((3, 3), np.float32))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], object), allow_pickle=True)
    for name in ("cut.png", "float.npy", "pickle.npy"):
        with pytest.raises(FormatError):
            read_label(tmp_path / name)
