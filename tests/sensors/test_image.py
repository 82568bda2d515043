"""Aligned pictures of any bands: declarations, reading, scaling; expected values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from band_files import write_bands
from PIL import Image

from armseg_core.conversion.convert import to_tensor
from armseg_core.conversion.recording import Recording
from armseg_core.errors import ArmsegError, FormatError, UsageError
from armseg_core.sensors import SENSORS, get_modality, parse_modalities
from armseg_core.sensors.modalities import IMAGE, Declaration, declaration_of, declare
from armseg_core.sensors.modality import row_problems
from armseg_core.sensors.recognition import sniff


def read(path: Path, name: str, **options: object) -> np.ndarray:
    return to_tensor(path, modality=name, options=options).frames[0]


def gray(path: Path, values: list[list[int]], dtype: type = np.uint16) -> Path:
    assert cv2.imwrite(str(path), np.array(values, dtype))
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 10, ("vv", "vh")])
@pytest.mark.parametrize("validity", [False, True])
def test_the_row_fits_together(channels: int | tuple[str, ...], validity: bool) -> None:
    declare(Declaration.of("sar_1", channels, "radar", validity), "here")
    row = SENSORS["sar_1"]
    assert row_problems(row) == []
    assert (row.prompt, row.title, row.flip_negates) == ("radar image", "radar", ())
    assert get_modality("SAR-1") is row
    assert parse_modalities("depth,sar-1") == ("depth", "sar_1")
    weights = np.array(row.pseudo_rgb)[: len(row.channels) - validity]
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert ("valid" in row.channels) == validity


def test_names_of_channels() -> None:
    assert Declaration.of("nir").channels == ("nir",)
    assert Declaration.of("heat", 3).channels == ("red", "green", "blue")
    assert Declaration.of("ms", 2).channels == ("ms_1", "ms_2")
    assert Declaration.of("sar_before").words == "sar before"


def test_declaring_again(tmp_path: Path) -> None:
    nir = Declaration.of("nir", 1, "near infrared")
    declare(nir, "a")
    declare(nir, "b")
    row = SENSORS["nir"]
    declare(Declaration.of("nir", 1, "near infrared"), "c")
    assert SENSORS["nir"] is row
    with pytest.raises(UsageError) as caught:
        declare(Declaration.of("nir", 2, "near infrared"), "b")
    assert str(caught.value) == (
        "b: nir is declared as nir_1, nir_2 (near infrared), and in a as nir (near infrared) (expected the "
        "same channels and words wherever a name is used together). Try: another name for one of the two"
    )
    declare(Declaration.of("nir", 2), "a")  # the data set was edited
    assert SENSORS["nir"].channels == ("nir_1", "nir_2")


@pytest.mark.parametrize("name", ["depth", "ir", "rgb", "color", "image", "all"])
def test_names_of_others_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}'"):
        declare(Declaration.of(name), "here")
    assert declaration_of(name) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Nir",), "'Nir' cannot be the name of a sensor"),
        (("nir", 0), "the channels of 'nir' are none"),
        (("nir", ("a", "a")), "the channels of 'nir' are a, a"),
        (("nir", 1, " "), "the words for 'nir' are empty"),
        (("nir", ("valid",), None, True), "none of them 'valid'"),
    ],
)
def test_bad_declarations(arguments: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Declaration.of(*arguments)


def test_range_and_nodata(tmp_path: Path) -> None:
    declare(Declaration.of("nir"), "here")
    path = gray(tmp_path / "x.png", [[0, 1000], [2000, 6000]])
    np.testing.assert_array_equal(read(path, "nir", range=[1000, 5000]), [[[0, 0], [0.25, 1]]])
    np.testing.assert_array_equal(read(path, "nir", range=[-2000, 6000], nodata=0), [[[0, 0.375], [0.5, 1]]])
    found = read(path, "nir", percentiles=[0, 100])
    np.testing.assert_allclose(found, [[[0, 1 / 6], [1 / 3, 1]]], rtol=1e-6)
    # 16 bits without a range: the whole of them
    np.testing.assert_allclose(read(path, "nir"), np.array([[[0, 1000], [2000, 6000]]]) / 65535, rtol=1e-6)


def test_the_16_bits_reach_the_tensor(tmp_path: Path) -> None:
    declare(Declaration.of("dem"), "here")
    path = gray(tmp_path / "x.png", [[4000, 4001], [4002, 4003]])
    found = read(path, "dem", range=[4000, 4010])
    np.testing.assert_allclose(found, [[[0, 0.1], [0.2, 0.3]]], rtol=1e-6)


def test_floats_without_a_value(tmp_path: Path) -> None:
    declare(Declaration.of("dem", validity=True), "here")
    values = np.array([[1.0, np.nan], [np.inf, -3.4028234663852886e38]], np.float32)
    np.save(tmp_path / "x.npy", values)
    found = read(tmp_path / "x.npy", "dem", range=[0, 4], nodata=-3.4028235e38)
    np.testing.assert_array_equal(found, [[[0.25, 0], [0, 0]], [[1, 0], [0, 0]]])


def test_validity_keeps_what_has_no_value_out_of_the_mean(tmp_path: Path) -> None:
    declare(Declaration.of("dem", validity=True), "here")
    path = gray(tmp_path / "x.png", [[8, 0, 0, 0], [8, 8, 0, 8]], np.uint8)
    found = to_tensor(path, modality="dem", size=(1, 2), options={"range": [0, 16], "nodata": 0}).frames[0]
    np.testing.assert_array_equal(found, [[[0.5, 0]], [[1, 0]]])


@pytest.mark.parametrize("suffix", ["npy", "first.npy", "tif"])
def test_bands_are_chosen_in_their_order(tmp_path: Path, suffix: str) -> None:
    declare(Declaration.of("ms", ("a", "b")), "here")
    values = np.arange(5 * 6 * 10, dtype=np.uint16).reshape(5, 6, 10)
    path = tmp_path / f"x.{suffix}"
    if suffix == "tif":
        write_bands(path, values)
    else:
        np.save(path, values if suffix == "npy" else values.transpose(2, 0, 1))
    options = {"bands": [10, 3], "range": [0, 1000]}
    bands = [3, 10] if suffix == "first.npy" else [10, 3]  # 5 rows are fewer than 10 bands
    if suffix != "tif":
        values = np.arange(20 * 30 * 10, dtype=np.uint16).reshape(20, 30, 10)
        np.save(path, values if suffix == "npy" else values.transpose(2, 0, 1))
        options["range"], bands = [0, 10000], [10, 3]
    scale = options["range"][1]
    expected = values[..., [bands[0] - 1, bands[1] - 1]].transpose(2, 0, 1) / scale
    np.testing.assert_allclose(read(path, "ms", **options), expected, rtol=1e-6)


def test_a_range_for_each_channel(tmp_path: Path) -> None:
    declare(Declaration.of("sar", ("vv", "vh")), "here")
    np.save(tmp_path / "x.npy", np.stack([np.full((3, 9), 5.0), np.full((3, 9), 5.0)]))
    found = read(tmp_path / "x.npy", "sar", range=[0, 10, 4, 8])
    np.testing.assert_array_equal(found[:, 0, 0], [0.5, 0.25])


def test_pictures_in_false_colors(tmp_path: Path) -> None:
    declare(Declaration.of("heat", 3, validity=True), "here")
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[..., 0], picture[..., 3], picture[0, 0, 3] = 255, 255, 0
    Image.fromarray(picture).save(tmp_path / "x.png")
    found = read(tmp_path / "x.png", "heat")
    np.testing.assert_array_equal(
        found[0], [[0, 1], [1, 1]]
    )  # red; where it is transparent there is no value
    np.testing.assert_array_equal(found[1:3], np.zeros((2, 2, 2)))
    np.testing.assert_array_equal(found[3], [[0, 1], [1, 1]])


def test_gray_saved_in_color_is_one_channel(tmp_path: Path) -> None:
    declare(Declaration.of("nir"), "here")
    Image.fromarray(np.full((4, 4, 3), 51, np.uint8)).save(tmp_path / "x.png")
    np.testing.assert_allclose(read(tmp_path / "x.png", "nir"), np.full((1, 4, 4), 0.2), rtol=1e-6)


@pytest.mark.parametrize(
    ("channels", "values", "options", "message"),
    [
        (
            2,
            np.zeros((20, 30, 12)),
            {},
            "x.npy: holds 12 bands (expected 2, as declared). Try: channels = 12 in "
            "dataset.toml, or bands = [1, 2] to choose some",
        ),
        (
            2,
            np.zeros((8, 9)),
            {},
            "x.npy: holds 1 band (expected 2, as declared). Try: channels = 1 in dataset.toml",
        ),
        (
            1,
            np.zeros((8, 9)),
            {"bands": [2]},
            "x.npy: has no band 2: it holds 1 band (expected bands 1 to 1)",
        ),
        (
            1,
            np.zeros((8, 9), complex),
            {},
            "x.npy: the values are complex128 (1, 8, 9) (expected real numbers). "
            "Try: np.abs(...) of complex values",
        ),
        (1, np.zeros((2, 2, 2, 2)), {}, "expected (H, W), (H, W, C) or (C, H, W)"),
        (
            1,
            np.zeros((8, 9)),
            {"range": [4, 4]},
            "option 'range' is [4, 4] (expected low and high, such as 0,4000, or "
            "one such pair for each channel: 0,4000,0,1)",
        ),
        (1, np.zeros((8, 9)), {"range": [0, 1, 0, 2]}, "range has 4 numbers"),
        (
            1,
            np.zeros((8, 9)),
            {"range": [0, 1], "percentiles": [1, 99]},
            "(expected range or percentiles, not both)",
        ),
        (
            1,
            np.zeros((8, 9)),
            {"percentiles": [99, 1]},
            "(expected two percentiles from 0 to 100, the smaller one first",
        ),
        (1, np.zeros((8, 9)), {"bands": "0"}, "(expected numbers of bands from 1, such as 3,4)"),
        (1, np.zeros((8, 9)), {"crop_left": 9}, "crop_left cuts off 9 columns (expected fewer than 9)"),
    ],
)
def test_messages(tmp_path: Path, channels: int, values: np.ndarray, options: dict, message: str) -> None:
    declare(Declaration.of("nir", channels), "here")
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ArmsegError) as caught:
        read(tmp_path / "x.npy", "nir", **options)
    assert message in str(caught.value).replace(f"{tmp_path}/", "")


def test_a_color_picture_is_not_one_channel(tmp_path: Path) -> None:
    declare(Declaration.of("nir"), "here")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(FormatError, match=r"in color .* Try: channels = 3 in dataset.toml"):
        read(tmp_path / "x.png", "nir")


def test_undeclared_bands_are_looked_at_as_image(tmp_path: Path) -> None:
    path = write_bands(tmp_path / "x.tif", np.arange(5 * 6 * 12, dtype=np.int16).reshape(5, 6, 12))
    with Recording.open(path, "image", {"bands": "4,3,2", "range": "0,360"}) as recording:
        assert recording.size == (5, 6)
        (frame,) = recording.frames()
        assert frame.channels == ("band_4", "band_3", "band_2")
        np.testing.assert_allclose(frame.values[:, 0, 0], np.array([3, 2, 1]) / 360, rtol=1e-6)
        assert recording.frame((10, 12)).frames.shape == (1, 3, 10, 12)
    assert IMAGE.name not in SENSORS  # no data set has it, and no file is taken for one by itself
    with pytest.raises(FormatError):
        sniff(path)


def test_a_name_says_which_declared_sensor(tmp_path: Path) -> None:
    path = gray(tmp_path / "nir.png", [[1, 2], [3, 4]])
    with pytest.raises(FormatError, match="fits several sensors"):
        sniff(path)
    declare(Declaration.of("nir"), "here")
    assert sniff(path).modality == "nir"
    other = gray(tmp_path / "thermal.png", [[1, 2], [3, 4]])
    assert sniff(other).modality == "thermal"


def test_a_file_converted_as_image_serves_the_declared_sensor(tmp_path: Path) -> None:
    path = gray(tmp_path / "x.png", [[0, 100], [200, 400]])
    to_tensor(path, modality="image", options={"range": [0, 400]}).save(tmp_path / "x.h5")
    declare(Declaration.of("nir"), "here")
    found = to_tensor(tmp_path / "x.h5", modality="nir")
    assert (found.info.modality, found.info.channels) == ("nir", ("nir",))
    np.testing.assert_array_equal(found.frames, [[[[0, 0.25], [0.5, 1]]]])
    declare(Declaration.of("sar", 2), "here")
    with pytest.raises(FormatError, match="has 1 channels: band_1"):
        to_tensor(tmp_path / "x.h5", modality="sar")
