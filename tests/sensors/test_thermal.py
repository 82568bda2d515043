"""Thermal: pictures written byte by byte, scalings worked out by hand, refusals that say what to do."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_writer import png, tiff
from shared_data import shared

from armseg_core.arrays import Thermal
from armseg_core.errors import FormatError, UsageError
from armseg_core.figures import make_figure
from armseg_core.sensors.recognition import sniff
from armseg_core.sensors.representations import get_representation
from armseg_core.sensors.thermal import readers as sensor
from armseg_core.sensors.thermal import representations as rep
from armseg_core.sensors.thermal.options import ThermalOptions

OPTIONS = ThermalOptions()


def read(path: Path, **options) -> Thermal:
    return sniff(path, "thermal").read(path, ThermalOptions(**options))


def frame(values, unit="counts", bits=16) -> Thermal:
    return Thermal(np.asarray(values, np.float32), unit, bits)


# --- readers ---


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiff(tmp_path, dtype, order):
    values = (np.random.default_rng(0).random((5, 7)) * 200).astype(dtype)
    data = read(tiff(tmp_path / "t.tiff", values, order))
    np.testing.assert_array_equal(data.values, values)
    assert data.bit_depth == values.dtype.itemsize * 8
    assert data.unit == "counts"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_one_or_equal_channels(tmp_path, dtype, channels):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 7)).astype(dtype)
    image = values if channels == 1 else values[..., None].repeat(3, -1)
    np.testing.assert_array_equal(read(png(tmp_path / "t.png", image)).values, values)


def test_color_mapped_rendering_is_refused(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    with pytest.raises(FormatError, match="does not hold the measured values"):
        read(png(tmp_path / "t.png", image))


def test_gray_jpeg(tmp_path):
    cv2.imwrite(str(tmp_path / "t.jpg"), np.full((16, 16), 90, np.uint8))
    assert np.abs(read(tmp_path / "t.jpg").values - 90).max() <= 1


def test_mfnet_takes_the_fourth_channel(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (5, 7, 4)).astype(np.uint8)
    path = png(tmp_path / "00001D.png", image)
    assert sniff(path, "thermal").name == "mfnet"
    np.testing.assert_array_equal(read(path).values, image[..., 3])
    image[..., 3] = 255
    with pytest.raises(FormatError, match="fourth channel is 255 everywhere"):
        read(png(tmp_path / "a.png", image))
    gray = image[..., :1].repeat(4, -1)
    gray[..., 3] = 255  # a gray picture that some program saved as RGBA
    np.testing.assert_array_equal(read(png(tmp_path / "g.png", gray)).values, gray[..., 0])


@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 1), (1, 12, 16)])
def test_npy(tmp_path, shape):
    values = np.random.default_rng(0).normal(300, 5, shape)
    np.save(tmp_path / "t.npy", values)
    data = read(tmp_path / "t.npy")
    np.testing.assert_allclose(data.values, values.reshape(12, 16), rtol=1e-6)
    np.savez(tmp_path / "t.npz", thermal=values, other=np.zeros(3))
    np.testing.assert_allclose(read(tmp_path / "t.npz").values, values.reshape(12, 16), rtol=1e-6)


def test_pickled_and_empty_and_nan_arrays(tmp_path):
    np.save(tmp_path / "p.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match="pickled"):
        sensor.read_array(tmp_path / "p.npy", OPTIONS)
    np.save(tmp_path / "n.npy", np.full((12, 16), np.nan))
    with pytest.raises(FormatError, match="no finite value"):
        read(tmp_path / "n.npy")
    np.save(tmp_path / "e.npy", np.zeros((0, 16)))
    with pytest.raises(FormatError, match=r"shape \(0, 16\)"):
        sensor.read_array(tmp_path / "e.npy", OPTIONS)


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_truncated_pictures(tmp_path, cut):
    values = np.random.default_rng(0).integers(0, 65535, (40, 50)).astype(np.uint16)
    for path in (png(tmp_path / "t.png", values), tiff(tmp_path / "t.tiff", values)):
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * cut)])
        with pytest.raises(FormatError, match="not a readable image"):
            sensor.read_picture(path, OPTIONS)


def jpeg_with(path: Path, segment: bytes) -> Path:
    """A gray JPEG with one APP1 segment after its start marker."""
    _, data = cv2.imencode(".jpg", np.full((16, 16), 90, np.uint8))
    data = data.tobytes()
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:])
    return path


def test_dji_jpeg_is_refused_with_the_tool_to_use(tmp_path):
    path = jpeg_with(tmp_path / "DJI_0001_T.JPG", b"Exif\0\0MM\0*....DJI\0M2EA\0")
    data = path.read_bytes()
    photo = tmp_path / "DJI_0002.JPG"
    photo.write_bytes(data)  # an ordinary photo: nothing radiometric in it
    assert sensor._is_picture(photo)
    assert not sensor._is_dji(photo)
    path.write_bytes(data[:2] + b"\xff\xe3\0\x06raw." + data[2:])
    with pytest.raises(FormatError, match="Thermal SDK"):
        sniff(path, "thermal")
    with pytest.raises(FormatError, match=r"a DJI thermal JPEG.*Thermal SDK"):
        next(row for row in sensor.THERMAL_READERS if row.name == "dji-rjpeg").read(path, OPTIONS)


@pytest.mark.parametrize("name", ["a.seq", "a.csq", "a.ats", "a.dat"])
def test_flir_sequences_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"FFF\0" + bytes(64))
    with pytest.raises(FormatError, match="TIFF"):
        sniff(tmp_path / name, "thermal")


PLANCK = {"R1": 14906.2, "R2": 0.0108, "B": 1396.6, "F": 1.0, "O": -6303}


def flir_data(raw: np.ndarray, order: str = ">", entries: int = 14, png: bool = False) -> bytes:
    """An FFF block of raw counts and camera constants (emissivity 1, distance 0 and a clear window, so that
    T = B / ln(R1 / (R2 (raw + O)) + F)); cameras write a directory of 14 entries, most of them empty."""
    h, w = raw.shape
    samples = raw.astype("<u2").tobytes()
    if png:  # the samples of FLIR's PNG have their bytes swapped
        samples = cv2.imencode(".png", raw.astype(np.uint16).byteswap())[1].tobytes()
    data = struct.pack("<HHH", 2, w, h).ljust(32, b"\0") + samples
    camera = bytearray(900)
    struct.pack_into("<H", camera, 0, 2)
    struct.pack_into("<6f", camera, 32, 1.0, 0.0, 293.15, 293.15, 293.15, 1.0)
    struct.pack_into("<f", camera, 60, 0.5)
    struct.pack_into("<3f", camera, 88, PLANCK["R1"], PLANCK["B"], PLANCK["F"])
    struct.pack_into("<5f", camera, 112, 0.0066, 0.0126, -0.0023, -0.0067, 1.9)
    struct.pack_into("<if", camera, 776, PLANCK["O"], PLANCK["R2"])
    at = 64 + entries * 32
    header = struct.pack(f"{order}4s16sIIII", b"FFF\0", b"MTX IR", 100, 64, entries, 3).ljust(64, b"\0")
    directory = b""
    for kind, record in ((1, data), (32, camera)):
        directory += struct.pack(f"{order}HHIIII", kind, 1, 100, 1, at, len(record)).ljust(32, b"\0")
        at += len(record)
    return header + directory.ljust(entries * 32, b"\0") + data + bytes(camera)


def kelvin_of(raw: np.ndarray) -> np.ndarray:
    return PLANCK["B"] / np.log(PLANCK["R1"] / (PLANCK["R2"] * (raw + PLANCK["O"])) + PLANCK["F"])


RAW = np.arange(12000, 12048).reshape(6, 8)


@pytest.mark.parametrize(
    "how", [{}, {"order": "<"}, {"entries": 2}, {"order": "<", "entries": 2}, {"png": True}]
)
def test_flir_radiometric_jpeg(tmp_path, how):
    path = jpeg_with(tmp_path / "F.jpg", b"FLIR\0\x01\0\0" + flir_data(RAW, **how))
    assert sniff(path, "thermal").name == "flir-rjpeg"
    data = read(path)
    assert data.unit == "celsius"
    np.testing.assert_allclose(data.values, kelvin_of(RAW) - 273.15, atol=0.01)
    np.testing.assert_array_equal(rep.celsius(data, OPTIONS).values[0], data.values)


def test_flir_data_in_several_segments(tmp_path):
    data = flir_data(RAW)
    path = jpeg_with(tmp_path / "F.jpg", b"FLIR\0\x01\x01\x01" + data[700:])
    rest = b"FLIR\0\x01\x00\x01" + data[:700]
    head, tail = path.read_bytes()[:2], path.read_bytes()[2:]
    path.write_bytes(head + b"\xff\xe1" + struct.pack(">H", len(rest) + 2) + rest + tail)
    np.testing.assert_allclose(read(path).values, kelvin_of(RAW) - 273.15, atol=0.01)


def test_an_fff_file_of_one_frame_is_read_and_of_two_refused(tmp_path):
    path = tmp_path / "frame.fff"
    path.write_bytes(flir_data(RAW, "<", 2))
    assert sniff(path).name == "flir-fff"
    np.testing.assert_allclose(read(path).values, kelvin_of(RAW) - 273.15, atol=0.01)
    path.write_bytes(2 * flir_data(RAW, "<", 2))
    with pytest.raises(FormatError, match=r"FLIR SEQ.*TIFF"):
        sniff(path)


def test_what_the_air_reflections_and_a_window_add_is_taken_away(tmp_path):
    """Of an object as warm as everything around it nothing is added and nothing is lost."""
    black = (PLANCK["R1"] / (PLANCK["R2"] * (np.exp(PLANCK["B"] / 293.15) - 1))) - PLANCK["O"]
    raw = np.full((2, 2), round(black))
    data = bytearray(flir_data(raw, entries=2))
    camera = 64 + 2 * 32 + 32 + 8
    struct.pack_into("<6f", data, camera + 32, 0.7, 30.0, 293.15, 293.15, 293.15, 0.8)
    (tmp_path / "a.fff").write_bytes(data)
    np.testing.assert_allclose(read(tmp_path / "a.fff").values, 20, atol=0.1)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:40], "no directory of FLIR records"),
        (lambda data: data[:-1], "no constants in it"),
        (lambda data: data[:64] + bytes(14 * 32) + data[64 + 14 * 32 :], "no raw picture and no constants"),
        (
            lambda data: data.replace(struct.pack("<HHH", 2, 8, 6), struct.pack("<HHH", 2, 800, 6)),
            "800x6 pixels",
        ),
        (lambda data: data.replace(struct.pack("<f", PLANCK["B"]), bytes(4)), "no constants of a camera"),
    ],
)
def test_damaged_flir_data(tmp_path, spoil, said):
    path = jpeg_with(tmp_path / "F.jpg", b"FLIR\0\x01\0\0" + spoil(flir_data(RAW)))
    with pytest.raises(FormatError, match=f"the FLIR data cannot be decoded .*{said}"):
        read(path)


def test_a_png_inside_that_claims_another_size_is_not_decoded(tmp_path):
    data = flir_data(RAW, png=True)
    data = data.replace(struct.pack(">II", 8, 6), struct.pack(">II", 60_000, 60_000))
    path = jpeg_with(tmp_path / "F.jpg", b"FLIR\0\x01\0\0" + data)
    with pytest.raises(FormatError, match="its PNG is not one of 8x6"):
        read(path)


# a picture beside the checkout: least, median and greatest degrees by exiftool and Thermimage's raw2temp
REAL = {
    "FLIR_AX8.jpg": (24.36, 25.03, 25.47),
    "FLIR_E40.jpg": (17.88, 21.01, 24.70),
    "FLIR_B60.jpg": (-68.08, -7.69, -0.23),
    "FLIR_A320.jpg": (10.13, 23.70, 26.64),
    "DJI_XT2.jpg": (21.46, 31.59, 82.92),
    "frame_000000_le.fff": (22.94, 23.54, 29.50),
}


@pytest.mark.parametrize("name", REAL)
def test_real_cameras(name):
    values = read(shared("data", "thermal", name)).values
    found = values.min(), np.median(values), values.max()
    np.testing.assert_allclose(found, REAL[name], atol=0.011)


def test_a_real_radiometric_picture_of_dji_is_no_photo():
    with pytest.raises(FormatError, match="Thermal SDK"):
        make_figure(shared("data", "thermal", "M3T_DJI_0002_R.JPG"))


# --- representations ---


def test_percentiles_by_hand():
    """0..100: the 1st percentile is 1, the 99th is 99."""
    values = np.arange(101.0).reshape(1, 101)
    made = rep.percentile(frame(values), OPTIONS)
    out, names, value_range = made.values, made.channels, made.value_range
    assert names == ("temperature",)
    assert value_range == (0, 1)
    np.testing.assert_allclose(out[0, 0], np.clip((values[0] - 1) / 98, 0, 1), atol=1e-6)
    np.testing.assert_allclose(rep.minmax(frame(values), OPTIONS).values[0, 0], values[0] / 100, atol=1e-6)
    wide = rep.percentile(frame(values), ThermalOptions(low_percentile=10, high_percentile=90)).values[0, 0]
    np.testing.assert_allclose(wide, np.clip((values[0] - 10) / 80, 0, 1), atol=1e-6)


@pytest.mark.parametrize("name", ["percentile", "minmax", "clahe"])
def test_constant_frames_give_zeros(name):
    out = get_representation("thermal", name).make(frame(np.full((16, 16), 30000)), OPTIONS).values
    assert out.dtype == np.float32
    assert not out.any()


def test_one_hot_pixel_in_a_constant_frame_is_seen():
    values = np.full((100, 100), 7.0)
    values[3, 4] = 9
    out = rep.percentile(frame(values), OPTIONS).values[0]
    assert out[3, 4] == 1
    assert out.sum() == 1


@pytest.mark.parametrize("name", ["percentile", "minmax", "clahe", "raw", "celsius"])
def test_bad_pixels_do_not_spread(name):
    values = np.random.default_rng(0).normal(30, 2, (32, 32))
    values[0, 0], values[1, 1], values[2, 2] = np.nan, np.inf, -np.inf
    out = get_representation("thermal", name).make(frame(values, "celsius", 32), OPTIONS).values
    assert np.isfinite(out).all()
    if name not in ("raw", "celsius"):
        assert out.max() > 0.9
        assert out[0, 0, 0] == out.min()


def test_sixteen_bits_survive_to_the_tensor(tmp_path):
    values = np.array([[0, 30000], [30001, 65535]], np.uint16)
    data = read(tiff(tmp_path / "t.tiff", values))
    for make in (rep.minmax, rep.raw):
        out = make(data, OPTIONS).values[0]
        assert out.dtype == np.float32
        np.testing.assert_array_equal(np.rint(out.astype(np.float64) * 65535), values)


def test_celsius_needs_a_unit():
    values = np.array([[27315, 30315]])
    with pytest.raises(UsageError, match=r"the values fit tlinear.* Try: --thermal-unit tlinear"):
        rep.celsius(frame(values), OPTIONS)
    for options in ({"thermal_unit": "tlinear"}, {"scale": 0.01, "offset": -273.15}):
        made = rep.celsius(frame(values), ThermalOptions(**options))
        out, names, units = made.values, made.channels, made.units
        np.testing.assert_allclose(out[0], [[0, 30]], atol=1e-4)
        assert (names, units) == (("celsius",), ("degree Celsius",))
    assert rep.celsius(frame([[300.0]], bits=32), ThermalOptions(thermal_unit="kelvin")).values[
        0, 0, 0
    ] == pytest.approx(26.85)
    with pytest.raises(UsageError, match="scale and offset together"):
        ThermalOptions.parse({"scale": 0.01})
    with pytest.raises(UsageError, match="low_percentile below"):
        ThermalOptions.parse({"low_percentile": 50, "high_percentile": 20})


def test_clahe_raises_local_contrast():
    """A faint pattern beside a strong step: clahe shows it better than minmax."""
    y, x = np.mgrid[0:256, 0:256]
    values = np.where(x < 128, 20000, 40000) + 200 * ((x // 2 + y // 2) % 2)
    dark = (slice(32, 224), slice(16, 96))
    plain, equal = (make(frame(values), OPTIONS).values[0][dark].std() for make in (rep.minmax, rep.clahe))
    more = rep.clahe(frame(values), ThermalOptions(clip_limit=8)).values[0][dark].std()
    assert equal > 1.5 * plain
    assert more > 3 * plain


def test_size_option():
    values = np.arange(16.0).reshape(4, 4)
    out = rep.minmax(frame(values), ThermalOptions(size=(2, 2))).values
    np.testing.assert_allclose(out[0] * 15, [[2.5, 4.5], [10.5, 12.5]], atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(width=32), min_size=1, max_size=40), st.sampled_from(["percentile", "minmax", "clahe"])
)
def test_any_frame_gives_values_in_range(values, name):
    out = get_representation("thermal", name).make(frame([values]), OPTIONS).values
    assert np.isfinite(out).all()
    assert out.min() >= 0
    assert out.max() <= 1
