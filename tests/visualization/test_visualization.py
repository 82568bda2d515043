"""Pictures of sensors: known colors for known numbers, every modality of the table, hostile frames."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
import pytest

from armseg_core.errors import FormatError, UsageError
from armseg_core.files.tensor_file import SensorTensor, TensorInfo
from armseg_core.sensors.drawing import render_frame, render_model_tensor, render_tensor_file
from armseg_core.sensors.event.panels import grown, render_polarities
from armseg_core.sensors.light_field.panels import epi, view_names
from armseg_core.sensors.modalities import MODALITIES, SENSORS
from armseg_core.sensors.polarization.panels import render_aolp
from armseg_core.visualization import (
    INVALID,
    apply_color_map,
    robust_range,
)
from armseg_core.visualization.canvas import fit_width, format_number, log_ticks, nice_ticks
from armseg_core.visualization.colors import COLOR_MAPS, color_table
from armseg_core.visualization.panels import contact_sheet, picture_names

SIZE = (24, 31)


def frame_of(modality: str, seed: int = 0) -> np.ndarray:
    """A plausible model tensor."""
    rng = np.random.default_rng(seed)
    row = MODALITIES[modality]
    low, high = row.value_range
    frame = rng.uniform(low, high, (row.num_channels, *SIZE)).astype(np.float32)
    for i, name in enumerate(row.channels):
        if name == "valid":
            frame[i] = rng.random(SIZE) < 0.8
    return frame


def info_of(
    modality: str,
    representation: str = "",
    channels: tuple[str, ...] = (),
    value_range: tuple[float, float] = (0, 1),
) -> TensorInfo:
    channels = channels or MODALITIES[modality].channels
    return TensorInfo(
        modality,
        representation or MODALITIES[modality].representation,
        channels,
        ("",) * len(channels),
        value_range,
    )


def hue(color: np.ndarray) -> float:
    return colorsys.rgb_to_hsv(*(color / 255))[0] * 360


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_modality_renders_and_its_frame_stays_as_it_is(modality: str) -> None:
    frame = frame_of(modality)
    before = frame.copy()
    picture = render_model_tensor(frame, modality)
    assert picture.shape == (*SIZE, 3)
    assert picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10
    page = render_frame(frame, info_of(modality), 1_000_000, "note")
    assert page.dtype == np.uint8
    assert page.shape[1] >= 480
    assert page.shape[2] == 3
    assert (frame == before).all()


FILLS = {"zero": 0.0, "one": 1.0, "negative": -2.0, "large": 60000.0, "nan": np.nan, "inf": np.inf}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("modality", MODALITIES)
def test_constant_and_broken_frames_render_without_a_warning(modality: str, dtype: str, fill: str) -> None:
    frame = np.full((MODALITIES[modality].num_channels, 5, 7), FILLS[fill], dtype)
    assert render_model_tensor(frame, modality).shape == (5, 7, 3)
    assert render_frame(frame, info_of(modality)).ndim == 3
    some = frame_of(modality)
    some[:, :3] = FILLS[fill]
    assert render_frame(some, info_of(modality)).ndim == 3


def test_one_pixel_and_one_row_frames_render() -> None:
    for modality in SENSORS:
        for size in ((1, 1), (1, 40), (40, 1)):
            frame = np.ones((MODALITIES[modality].num_channels, *size), np.float32)
            page = render_frame(frame, info_of(modality))
            assert page.shape[1] >= 400
            assert page.shape[0] < 9000


def test_wrong_channels_are_one_clear_error() -> None:
    with pytest.raises(FormatError, match=r"\(3, 4, 4\).*\(5, H, W\)"):
        render_model_tensor(np.zeros((3, 4, 4), np.float32), "event")
    with pytest.raises(FormatError, match="expected"):
        render_frame(np.zeros((3, 4, 4), np.float32), info_of("event"))
    with pytest.raises(FormatError):
        render_frame(np.zeros((5, 0, 4), np.float32), info_of("event"))


# -- events


def test_positive_events_are_red_negative_blue_and_none_white() -> None:
    frame = np.zeros((5, 1, 4), np.float32)
    frame[1, 0, 0], frame[3, 0, 1] = 2, -2
    frame[:, 0, 2] = (1, -3, 1, 0, 0)  # sums to -1
    red, blue, mixed, none = render_model_tensor(frame, "event")[0].astype(int)
    assert red[0] > red[2] + 100
    assert blue[2] > blue[0] + 100
    assert mixed[2] > mixed[0]
    assert none.tolist() == [255, 255, 255]


def test_a_single_weak_event_can_be_seen() -> None:
    frame = np.zeros((5, 10, 10), np.float32)
    frame[0] = 50
    frame[0, 0, 0] = 0.01
    pixel = render_model_tensor(frame, "event")[0, 0].astype(int)
    assert pixel[1] < 235


def test_sparse_events_of_a_large_frame_are_drawn_3x3() -> None:
    values = np.zeros((200, 320), np.float32)
    values[10, 10], values[10, 12], values[199, 319] = 1, -3, 2
    drawn, said = grown(values)
    assert said == "drawn 3x3"
    assert drawn[9:12, 9].tolist() == [1, 1, 1]
    assert drawn[9:12, 11].tolist() == [-3, -3, -3], "the stronger one between two"
    assert drawn[10, [10, 12, 13, 14]].tolist() == [1, -3, -3, 0]
    assert np.count_nonzero(drawn) == 15 + 4
    dense = np.ones((200, 320), np.float32)
    for plain in (dense, values[:, :200], 0 * dense):  # seen as it is, small, empty
        assert grown(plain)[0] is plain


def test_polarities_apart_and_together() -> None:
    negative, positive = np.array([[0.0, 5, 0, 5]]), np.array([[5.0, 0, 0, 5]])
    red, blue, none, both = render_polarities(negative, positive)[0].astype(int)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert none.tolist() == [255, 255, 255]
    assert both.sum() < min(red.sum(), blue.sum())


# -- depth and LiDAR


@pytest.mark.parametrize(("modality", "valid"), [("depth", 1), ("lidar", 2)])
def test_invalid_depth_has_the_invalid_color_and_near_is_brighter(modality: str, valid: int) -> None:
    frame = np.zeros((3, 1, 4), np.float32)
    frame[0] = [[1, 10, 60, 5]]
    frame[valid] = [[1, 1, 1, 0]]
    picture = render_model_tensor(frame, modality)[0].astype(int)
    near, middle, far = (picture[i].sum() for i in range(3))
    assert near > middle > far
    assert picture[3].tolist() == list(INVALID)
    assert not (picture[:3] == INVALID).all(1).any()


def test_invalid_pixels_do_not_change_the_range_of_the_others() -> None:
    frame = np.zeros((3, 8, 8), np.float32)
    frame[0], frame[1] = np.linspace(2, 9, 64).reshape(8, 8), 1
    frame[:, 0, 0] = 0
    spoiled = frame.copy()
    spoiled[0, 0, 0] = 1e6
    assert (render_model_tensor(frame, "depth") == render_model_tensor(spoiled, "depth")).all()


# -- polarization


def test_aolp_is_periodic_in_180_degrees_and_the_hues_are_those_of_the_wheel() -> None:
    degrees = np.array([[0, 180, 45, 225, 90, -90, 135]])
    colors = render_aolp(np.deg2rad(degrees), np.ones(degrees.shape))[0]
    for first, second in ((0, 1), (2, 3), (4, 5)):
        assert np.abs(colors[first].astype(int) - colors[second]).max() <= 1
    hues = [hue(colors[i]) % 360 for i in (0, 2, 4, 6)]
    assert hues == pytest.approx([0, 90, 180, 270], abs=1.5)


def test_polarization_hue_saturation_and_value() -> None:
    frame = np.zeros((4, 1, 4), np.float32)
    angle = np.deg2rad([60, 60, 60, 60])
    frame[0], frame[1] = [1, 1, 0.1, 1], [0.5, 0.0, 0.5, 0.25]
    frame[2], frame[3] = np.sin(2 * angle), np.cos(2 * angle)
    full, gray, dark, half = render_model_tensor(frame, "polarization")[0]
    assert hue(full) == pytest.approx(120, abs=2)
    assert gray[0] == gray[1] == gray[2] == 255
    assert int(dark.max()) < int(full.max())
    saturation = [colorsys.rgb_to_hsv(*(c / 255))[1] for c in (full, half)]
    assert saturation[0] > saturation[1] > 0.3


# -- color maps


@pytest.mark.parametrize("name", COLOR_MAPS)
def test_color_maps_map_ends_to_ends(name: str) -> None:
    table = color_table(name)
    assert table.shape == (256, 3)
    picture = apply_color_map(np.array([[-5.0, 0, 10, 99]]), 0, 10, name)[0]
    assert picture[0].tolist() == picture[1].tolist() == table[0].tolist()
    assert picture[2].tolist() == picture[3].tolist() == table[255].tolist()


def test_sequential_maps_grow_lighter() -> None:
    for name in ("viridis", "inferno", "magma", "cividis", "gray"):
        luma = color_table(name) @ np.array([0.2126, 0.7152, 0.0722])
        assert (np.diff(luma[::16]) > 0).all(), name


def test_logarithmic_scale_puts_the_geometric_mean_in_the_middle() -> None:
    picture = apply_color_map(np.array([[1.0, 10, 100]]), 1, 100, "gray", log=True)[0, :, 0]
    assert picture.tolist() == [0, 128, 255]


def test_robust_range_ignores_what_is_not_finite_or_masked() -> None:
    values = np.array([0.0, 1, 2, np.nan, np.inf, 900])
    keep = np.array([True, True, True, True, True, False])
    assert robust_range(values, keep, percent=0) == (0, 2)
    assert robust_range(np.array([np.nan])) == (0, 1)
    low, high = robust_range(np.full(9, 5.0))
    assert low == 5
    assert high > 5


# -- numbers and sizes


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (0.25, "0.25"),
        (1500, "1500"),
        (65535, "65535"),
        (2e6, "2e+06"),
        (1e-5, "1e-05"),
        (-3, "-3"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert format_number(value) == text


def test_ticks_are_round_and_inside() -> None:
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(-3, 3) == [-3, -2, -1, 0, 1, 2, 3]
    assert log_ticks(1.5, 60) == [2, 5, 10, 20, 50]
    for low, high in ((0.013, 0.37), (-2e5, 7e5), (273.15, 310), (3, 3.002)):
        ticks = nice_ticks(low, high)
        assert 2 <= len(ticks) <= 9
        assert all(low - 1e-9 <= t <= high + 1e-9 for t in ticks)
        assert 1 <= len(log_ticks(max(low, 0.01), high)) <= 12


def test_small_pictures_grow_by_whole_factors_and_large_ones_shrink() -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    grown = fit_width(picture, 5)
    assert grown.shape == (6, 6, 3)
    assert (grown[:3, :3] == picture[0, 0]).all()
    assert (grown[3:, 3:] == picture[1, 1]).all()
    assert fit_width(np.zeros((100, 3000, 3), np.uint8), 480, 1000).shape == (33, 1000, 3)


# -- figures of other representations


@pytest.mark.parametrize(
    ("representation", "channels"),
    [
        ("histogram", ("neg", "pos")),
        ("stacked_histogram", ("neg0", "neg1", "pos0", "pos1")),
        ("event_frame", ("polarity",)),
        ("voxel_grid", ("bin0",)),
        ("voxel_grid", tuple(f"bin{i}" for i in range(20))),
        ("voxel_grid_split", ("neg0", "neg1", "pos0", "pos1")),
        ("time_surface", ("neg", "pos")),
        ("tore", tuple(f"{p}{k}" for p in ("neg", "pos") for k in range(3))),
        ("mdes", tuple(f"frame{i}" for i in range(10))),
        ("anything_new", tuple("abcdefghijklmnopqrstuvwxyz" * 2)),
    ],
)
def test_event_representations_render(representation: str, channels: tuple[str, ...]) -> None:
    frame = np.random.default_rng(0).normal(size=(len(channels), *SIZE)).astype(np.float16)
    frame = np.abs(frame) if "neg0" in channels else frame
    assert render_frame(frame, info_of("event", representation, channels)).shape[1] >= 480


@pytest.mark.parametrize(
    ("modality", "representation", "channels", "dtype"),
    [
        ("depth", "hha", ("disparity", "height", "angle"), "uint8"),
        ("depth", "normals", ("nx", "ny", "nz"), "float32"),
        ("thermal", "celsius", ("temperature",), "float32"),
        ("polarization", "raw", ("s0", "s1", "s2"), "float32"),
        ("polarization", "aolp_dolp", ("aolp", "dolp", "valid"), "float32"),
        ("depth", "inverse", ("inverse_depth",), "float32"),
        ("light_field", "focal_stack", tuple(f"focus{i}_{c}" for i in range(4) for c in "rgb"), "float32"),
        ("light_field", "macropixel", ("red", "green", "blue"), "uint16"),
        ("made_up_sensor", "made_up", ("a", "b"), "uint16"),
    ],
)
def test_other_representations_render(
    modality: str, representation: str, channels: tuple[str, ...], dtype: str
) -> None:
    frame = np.random.default_rng(0).uniform(0, 200, (len(channels), *SIZE)).astype(dtype)
    assert render_frame(frame, info_of(modality, representation, channels, (0, 255))).shape[1] >= 480


def test_contact_sheet_puts_each_view_in_its_row_and_column() -> None:
    views = [(u, v) for u in range(2) for v in range(3)]
    channels = tuple(f"u{u}v{v}{c}" for u, v in views for c in "rgb")
    assert view_names(channels) == views
    assert view_names(("u0v0r", "u0v0b", "u0v0g")) is None
    assert picture_names(("near_r", "near_g", "near_b", "far_r", "far_g", "far_b")) == ["near", "far"]
    assert picture_names(("a", "b", "c")) is None
    assert picture_names(("bin0", "bin1", "bin2", "bin3")) is None
    frame = np.stack([np.full((10, 40), 10 * i, np.uint8) for i in range(18)])
    sheet = contact_sheet(frame, views, width=3 * 40 + 8)
    assert sheet.shape == (24, 128, 3)
    for number, (u, v) in enumerate(views):
        assert sheet[14 * u + 5, 44 * v + 20].tolist() == [30 * number, 30 * number + 10, 30 * number + 20]
    page = render_frame(frame, info_of("light_field", "views", channels, (0, 255)))
    assert page.shape[1] >= 480


def test_epipolar_pictures_are_rows_and_columns_of_the_views() -> None:
    across = [f"horizontal_u1v{v}{c}" for v in range(3) for c in "rgb"]
    down = [f"vertical_u{u}v1{c}" for u in range(3) for c in "rgb"]
    frame = np.zeros((18, 4, 5), np.uint8)
    frame[0:9:3, 2] = np.array([10, 20, 30])[:, None]  # red of the middle row, one value a view
    frame[9::3, :, 2] = np.array([40, 50, 60])[:, None]  # red of the middle column
    info = info_of("light_field", "epi", (*across, *down), (0, 255))
    view, row, column = epi(frame, info)
    assert view.picture[2, 0, 0] == 20
    assert row.picture[::8, :, 0].tolist() == [[10] * 5, [20] * 5, [30] * 5]
    assert column.picture[:, ::2, 0].tolist() == [[40, 50, 60]] * 4
    assert render_frame(frame, info).shape[1] >= 480


def test_sixteen_bit_views_keep_their_brightness() -> None:
    frame = np.full((3, 8, 8), 0x8000, np.uint16)
    assert contact_sheet(frame, [(0, 0)], (0, 65535))[4, 4].tolist() == [128, 128, 128]
    assert contact_sheet(frame >> 4, [(0, 0)], (0, 4095))[4, 4].tolist() == [128, 128, 128]  # 12 bit


def test_tensor_file_frames_by_number(tmp_path: Path) -> None:
    frames = np.stack([frame_of("thermal", seed) for seed in range(3)])
    path = tmp_path / "thermal.h5"
    SensorTensor(frames, np.arange(3, dtype=np.int64) * 1000, info_of("thermal")).save(path)
    pages = [render_tensor_file(path, i) for i in range(3)]
    assert (render_tensor_file(path) == pages[2]).all()
    assert (render_tensor_file(path, -3) == pages[0]).all()
    assert not (pages[0] == pages[1]).all()
    with pytest.raises(UsageError, match=r"no frame 3.*0 to 2"):
        render_tensor_file(path, 3)
