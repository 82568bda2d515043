"""Light fields: every reader against files written here, every representation against indices worked out by
hand, disparity against planes rendered from a formula."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from picture_writer import png

from armseg_core.arrays import LightField
from armseg_core.errors import FormatError
from armseg_core.sensors.light_field import readers as sensor
from armseg_core.sensors.light_field import representations as rep
from armseg_core.sensors.light_field.disparity import estimate_disparity
from armseg_core.sensors.light_field.options import LightFieldOptions
from armseg_core.sensors.recognition import sniff

OPTIONS = LightFieldOptions()
SHAPE = (3, 3, 6, 8, 3)


def field(shape=SHAPE, dtype=np.uint8, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def write_grid(folder: Path, array: np.ndarray, first: int = 1) -> Path:
    for u in range(array.shape[0]):
        for v in range(array.shape[1]):
            png(folder / f"{u + first}_{v + first}.png", array[u, v])
    return folder


def read(path: Path, **options) -> np.ndarray:
    reader = sniff(path, "light_field")
    return reader.read(path, LightFieldOptions(**options)).views


# --- readers ---


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grid_folder(tmp_path, first, dtype):
    array = field(dtype=dtype)
    folder = write_grid(tmp_path / "lf", array, first)
    (folder / "label.png").write_bytes(b"not a view")
    views = read(folder)
    assert views.dtype == dtype
    np.testing.assert_array_equal(views, array)


def test_grid_folder_of_two_digit_numbers(tmp_path):
    array = field((11, 11, 2, 3, 3))
    np.testing.assert_array_equal(read(write_grid(tmp_path / "lf", array)), array)


def test_gray_and_rgba_views(tmp_path):
    array = field()
    alpha = np.full((*SHAPE[:4], 1), 200, np.uint8)
    np.testing.assert_array_equal(read(write_grid(tmp_path / "a", np.concatenate([array, alpha], -1))), array)
    gray = read(write_grid(tmp_path / "g", array[..., 0]))
    np.testing.assert_array_equal(gray, np.repeat(array[..., :1], 3, -1))


def test_hci_folder_is_row_by_row(tmp_path):
    array = field()
    for i in range(9):
        png(tmp_path / "lf" / f"input_Cam{i:03d}.png", array[i // 3, i % 3])
    np.testing.assert_array_equal(read(tmp_path / "lf"), array)


def test_lenslet(tmp_path):
    array = field()
    picture = np.zeros((18, 24, 3), np.uint8)
    for u in range(3):
        for v in range(3):
            picture[u::3, v::3] = array[u, v]
    path = png(tmp_path / "x_eslf.png", picture)
    np.testing.assert_array_equal(read(path, angular=3), array)
    with pytest.raises(FormatError, match="--angular 14"):
        read(path)
    with pytest.raises(FormatError, match="do not divide 24x18"):
        read(path, angular=5)
    np.testing.assert_array_equal(read(path, angular=3, central=1), array[1:2, 1:2])


def test_hci_h5_and_matlab(tmp_path):
    array = field()
    with h5py.File(tmp_path / "lf.h5", "w") as f:
        f["LF"] = array
        f["GT_DEPTH"] = np.zeros((3, 3, 6, 8))
    np.testing.assert_array_equal(read(tmp_path / "lf.h5"), array)
    with_weight = np.concatenate([array.astype(np.uint16), np.ones((*SHAPE[:4], 1), np.uint16)], -1)
    with h5py.File(tmp_path / "lf.mat", "w", userblock_size=512) as f:
        f["LF"] = with_weight.transpose()  # MATLAB's column-major (v, u, y, x, c) looks reversed to HDF5
    with (tmp_path / "lf.mat").open("r+b") as f:
        f.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    np.testing.assert_array_equal(read(tmp_path / "lf.mat"), array)


def test_npy_layouts(tmp_path):
    array = field()
    for name, stored, expected in (
        ("last", array, array),
        ("first", np.moveaxis(array, -1, 2), array),
        ("gray", array[..., 0], np.repeat(array[..., :1], 3, -1)),
    ):
        np.save(tmp_path / f"{name}.npy", stored)
        np.testing.assert_array_equal(read(tmp_path / f"{name}.npy"), expected)
    np.savez(tmp_path / "lf.npz", LF=array / np.float32(255))
    np.testing.assert_array_equal(read(tmp_path / "lf.npz"), array.astype(np.uint16) * 257)


@pytest.mark.parametrize("missing", ["2_2", "3_3", "1_2"])
def test_missing_view_is_named(tmp_path, missing):
    folder = write_grid(tmp_path / "lf", field())
    (folder / f"{missing}.png").unlink()
    with pytest.raises(FormatError, match=missing):
        read(folder)


def test_missing_hci_view_is_named(tmp_path):
    for i in range(9):
        if i != 4:
            png(tmp_path / "lf" / f"input_Cam{i:03d}.png", field()[0, 0])
    with pytest.raises(FormatError, match="input_Cam004"):
        read(tmp_path / "lf")


def test_grid_that_is_not_square(tmp_path):
    with pytest.raises(FormatError, match="square grid"):
        read(write_grid(tmp_path / "lf", field((3, 2, 6, 8, 3))))
    np.save(tmp_path / "a.npy", field((3, 2, 6, 8, 3)))
    with pytest.raises(FormatError, match="square grid"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("other", [np.zeros((6, 9, 3), np.uint8), np.zeros((6, 8, 3), np.uint16)])
def test_views_that_differ(tmp_path, other):
    folder = write_grid(tmp_path / "lf", field())
    png(folder / "2_3.png", other)
    with pytest.raises(FormatError, match="2_3"):
        read(folder)


def test_damaged_view(tmp_path):
    folder = write_grid(tmp_path / "lf", field())
    path = folder / "2_3.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(FormatError, match=r"2_3\.png: not a readable image"):
        read(folder)


@pytest.mark.parametrize("name", ["x.lfr", "x.lfp", "x.dat"])
def test_lytro_is_refused_with_the_way_out(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x89LFP\r\n\x1a\n" + bytes(100))
    with pytest.raises(FormatError, match=r"decode it first.*--angular 14"):
        sniff(tmp_path / name, "light_field")
    with pytest.raises(FormatError, match="white images"):
        sensor._refuse(tmp_path / name, OPTIONS)


# --- representations ---


def test_views_order_and_names():
    array = field()
    made = rep.views(LightField(array), OPTIONS)
    frame, names, units, value_range = made.values, made.channels, made.units, made.value_range
    assert frame.shape == (27, 6, 8)
    assert frame.dtype == np.uint8
    assert len(names) == len(units) == 27
    assert value_range == (0, 255)
    for u in range(3):
        for v in range(3):
            for i, c in enumerate("rgb"):
                np.testing.assert_array_equal(frame[names.index(f"u{u}v{v}{c}")], array[u, v, :, :, i])


def test_sixteen_bit_views_stay_sixteen_bit():
    array = field(dtype=np.uint16)
    made = rep.views(LightField(array), OPTIONS)
    frame, value_range = made.values, made.value_range
    assert frame.dtype == np.uint16
    assert value_range == (0, 65535)
    np.testing.assert_array_equal(frame[0], array[0, 0, :, :, 0])


def test_subsets():
    kept = {w: set(rep.chosen_views((5, 5), w)) for w in ("all", "row", "column", "cross", "star", "center")}
    assert kept["center"] == {(2, 2)}
    assert kept["row"] == {(2, v) for v in range(5)}
    assert kept["column"] == {(u, 2) for u in range(5)}
    assert kept["cross"] == kept["row"] | kept["column"]
    assert kept["star"] == kept["cross"] | {(i, i) for i in range(5)} | {(i, 4 - i) for i in range(5)}
    assert len(kept["all"]) == 25


def test_epi_by_hand():
    array = field()
    made = rep.epi(LightField(array), OPTIONS)
    frame, names = made.values, made.channels
    assert frame.shape == (18, 6, 8)
    np.testing.assert_array_equal(
        frame[1:9:3, 4, :], array[1, :, 4, :, 1]
    )  # green horizontal EPI (V, W) of row 4
    np.testing.assert_array_equal(
        frame[9::3, :, 5], array[:, 1, :, 5, 0]
    )  # red vertical EPI (U, H) of column 5
    assert names[0] == "horizontal_u1v0r"
    assert names[-1] == "vertical_u2v1b"


def test_macropixel_by_hand():
    array = field()
    made = rep.macropixel(LightField(array), OPTIONS)
    frame, names = made.values, made.channels
    assert frame.shape == (3, 18, 24)
    assert names == ("red", "green", "blue")
    for u, v, y, x in ((0, 0, 0, 0), (2, 1, 3, 5), (1, 2, 5, 7)):
        np.testing.assert_array_equal(frame[:, y * 3 + u, x * 3 + v], array[u, v, y, x])


def test_focal_stack_brings_each_plane_into_focus():
    """A point at row 10, column 20 of disparity 2: view (u, v) shows it at (10 - 2 du, 20 - 2 dv)."""
    array = np.zeros((3, 3, 24, 40, 3), np.uint8)
    for u in range(3):
        for v in range(3):
            array[u, v, 10 - 2 * (u - 1), 20 - 2 * (v - 1)] = 255
    made = rep.focal_stack(LightField(array), LightFieldOptions(planes=3, disparity_range=2))
    frame, names = made.values, made.channels
    assert names[::3] == ("focus-2.00px_r", "focus+0.00px_r", "focus+2.00px_r")
    assert frame[6, 10, 20] == pytest.approx(1)  # in focus: all nine views agree
    assert frame[3, 10, 20] == pytest.approx(1 / 9)  # only the center view
    assert np.count_nonzero(frame[3]) == 9
    assert frame[0, 10, 20] == pytest.approx(1 / 9)


def test_size_option():
    array = field((3, 3, 12, 16, 3))
    frame = rep.views(LightField(array), LightFieldOptions(size=(6, 8))).values
    assert frame.shape == (27, 6, 8)
    mean = array[0, 0, :2, :2, 0].astype(float).mean()
    assert abs(float(frame[0, 0, 0]) - mean) <= 1


# --- disparity ---


def plane(a: float, b: float, c: float, noise: float, contrast: float = 0.15, seed: int = 0, grid: int = 9):
    """Views (grid, grid, H, W, 3) uint8 of a textured plane, and its disparity d = a + b x + c y.

    A point at x in the center view is at x - d dv in another, so x' there shows x' + d(x', dv) dv."""
    h, w = 96, 128
    rng = np.random.default_rng(seed)
    texture = np.zeros((h + 80, w + 80, 3), np.float32)
    for octave in (2, 4, 8, 16):
        coarse = rng.normal(size=(h // octave + 42, w // octave + 42, 3)).astype(np.float32)
        texture += cv2.resize(coarse, (w + 80, h + 80), interpolation=cv2.INTER_CUBIC)
    texture = np.clip(0.5 + contrast * texture / texture.std(), 0, 1)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    rx, ry = x - w / 2, y - h / 2
    views = np.empty((grid, grid, h, w, 3), np.uint8)
    for u in range(grid):
        for v in range(grid):
            du, dv = u - grid // 2, v - grid // 2
            d = (a + b * rx + c * ry) / (1 - b * dv - c * du)
            image = cv2.remap(
                texture,
                (x + d * dv + 40).astype(np.float32),
                (y + d * du + 40).astype(np.float32),
                cv2.INTER_CUBIC,
            )
            image = image + rng.normal(size=image.shape) * noise
            views[u, v] = np.clip(np.rint(image * 255), 0, 255)
    return views, a + b * rx + c * ry


@pytest.mark.parametrize(("noise", "contrast"), [(0.0, 0.15), (0.02, 0.15), (0.03, 0.05)])
def test_disparity_of_a_slanted_plane_with_noise(noise, contrast):
    views, truth = plane(0.2, 0.022, 0.015, noise, contrast)
    assert truth.min() < -1.5
    assert truth.max() > 1.8
    made = rep.disparity(LightField(views), OPTIONS)
    frame, names = made.values, made.channels
    assert names == ("disparity", "confidence", "view_std")
    assert frame.dtype == np.float32
    error = np.abs(frame[0] - truth)
    assert np.median(error) < 0.03  # the requirement is 0.1 px
    assert np.mean(error > 0.3) < 0.02
    assert np.median(frame[1]) > 0.8
    assert frame[1].min() >= 0
    assert frame[1].max() <= 1


def test_disparity_from_few_views():
    views, truth = plane(0.2, 0.01, 0.008, 0.01)
    for which, limit in (("row", 0.05), ("column", 0.05), ("cross", 0.03), ("star", 0.03)):
        frame = rep.disparity(LightField(views), LightFieldOptions(views=which)).values
        assert np.median(np.abs(frame[0] - truth)) < limit, which
    three, truth = plane(0.2, 0.01, 0.008, 0.01, grid=3)
    assert np.median(np.abs(rep.disparity(LightField(three), OPTIONS).values[0] - truth)) < 0.1
    frame = rep.disparity(LightField(views), LightFieldOptions(views="center")).values
    assert not frame.any()


def test_disparity_of_even_grids_and_wide_grids():
    views, truth = plane(0.2, 0.005, 0.004, 0.0)
    even = views[:8, :8]  # center is (4, 4), the same view
    assert np.median(np.abs(rep.disparity(LightField(even), OPTIONS).values[0] - truth)) < 0.03
    wide, truth = plane(0.1, 0.002, 0.002, 0.0, grid=11)  # thinned to every second view
    estimate = rep.disparity(LightField(wide), OPTIONS).values[0]
    assert np.median(np.abs(estimate - truth)) < 0.03


def test_border_of_a_near_object_is_kept():
    """A near square (disparity 1.5) before a far plane (-0.5): the step is where it is, not smeared."""
    near, _ = plane(1.5, 0, 0, 0.01, seed=1)
    far, _ = plane(-0.5, 0, 0, 0.01, seed=2)
    y, x = np.mgrid[0:96, 0:128]
    views = far.copy()
    for u in range(9):
        for v in range(9):
            inside = (abs(x + 1.5 * (v - 4) - 64) < 24) & (abs(y + 1.5 * (u - 4) - 48) < 20)
            views[u, v][inside] = near[u, v][inside]
    truth = np.where((abs(x - 64) < 24) & (abs(y - 48) < 20), 1.5, -0.5)
    frame = rep.disparity(LightField(views), OPTIONS).values
    wrong = np.abs(frame[0] - truth) > 0.3
    border = np.abs(cv2.blur(truth, (7, 7)) - truth) > 1e-6  # within 3 pixels of the step
    assert wrong[~border].mean() < 0.01
    assert wrong[border].mean() < 0.25


def test_flat_panel_is_told_from_relief_and_doubt_is_said():
    """Without texture the disparity of the surroundings is taken, with confidence near 0."""
    views, _ = plane(1.0, 0, 0, 0.0)
    y, x = np.mgrid[0:96, 0:128]
    for u in range(9):
        for v in range(9):
            views[u, v][(abs(x + (v - 4) - 64) < 24) & (abs(y + (u - 4) - 48) < 20)] = 120
    rng = np.random.default_rng(0)
    views = np.clip(views + rng.normal(size=views.shape) * 5, 0, 255).astype(np.uint8)
    disparity, confidence, spread = rep.disparity(LightField(views), OPTIONS).values
    flat = (abs(x - 64) < 18) & (abs(y - 48) < 14)
    assert np.mean(np.abs(disparity[flat] - 1)) < 0.2
    assert confidence[flat].mean() < 0.1
    assert confidence[:20].mean() > 0.9
    assert 0.005 < np.median(spread[flat]) < 0.02  # noise of 5 counts over three channels


def test_a_black_area_below_texture_has_a_finite_view_std():
    """There the running sum of the box filter leaves a little less than 0, of which no root is taken."""
    rng = np.random.default_rng(0)
    views = np.zeros((5, 5, 48, 40, 3), np.uint8)
    views[:, :, :8] = rng.integers(0, 256, (5, 5, 8, 40, 3))  # differs from view to view
    views[:, :, 8:24] = rng.integers(0, 256, (16, 40, 3))  # the same in all
    spread = rep.disparity(LightField(views), OPTIONS).values[2]
    assert spread.min() >= 0
    assert spread[:6].max() > 0.1


def test_view_std_shows_a_reflection():
    """A reflection moves otherwise than the surface it lies on: after alignment the views still differ."""
    views, _ = plane(1.0, 0, 0, 0.0, seed=3)
    mirror, _ = plane(-1.5, 0, 0, 0.0, seed=4)
    mixed = views.astype(np.float32)
    mixed[:, :, 30:66, 40:88] += 0.3 * (mirror[:, :, 30:66, 40:88].astype(np.float32) - 128)
    spread = rep.disparity(LightField(np.clip(mixed, 0, 255).astype(np.uint8)), OPTIONS).values[2]
    assert spread[36:60, 46:82].mean() > 3 * spread[:20].mean()


def test_model_tensor_from_the_stored_stack():
    views, truth = plane(0.2, 0.01, 0.0, 0.01)
    made = rep.views(LightField(views), OPTIONS)
    frame, names = made.values, made.channels
    before = frame.copy()
    tensor = rep.model_tensor(frame, names)
    assert tensor.shape == (3, 96, 128)
    assert np.median(np.abs(tensor[0] - truth)) < 0.03
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_allclose(rep.model_tensor(frame.astype(np.float32), names), tensor, atol=1e-5)
    wide = rep.model_tensor(frame.astype(np.uint16) * 257, names)
    np.testing.assert_allclose(wide, tensor, atol=1e-3)
    shuffled = np.random.default_rng(0).permutation(81)
    order = (shuffled[:, None] * 3 + np.arange(3)).ravel()
    again = rep.model_tensor(frame[order], tuple(names[i] for i in order))
    np.testing.assert_allclose(again, tensor, atol=3e-3)  # the noise level is sampled from every fourth view
    assert rep.model_tensor(tensor, ("disparity", "confidence", "view_std")) is tensor
    with pytest.raises(FormatError, match="not a stack of views"):
        rep.model_tensor(frame[:3], ("red", "green", "blue"))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 40)])
def test_disparity_of_tiny_and_constant_pictures(shape):
    offsets = np.array([(u, v) for u in (-1, 0, 1) for v in (-1, 0, 1)])
    for planes in estimate_disparity(np.full((9, *shape), 0.5, np.float32), offsets):
        assert planes.shape == shape
        assert np.isfinite(planes).all()
