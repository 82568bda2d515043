"""Polarization: mosaics written here, Stokes parameters against Mueller matrices worked out by hand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_writer import png
from polarized_light import ANGLES, OPTIONS, QUIET, behind, light, read

from armseg_core.arrays import PolarizedImages, Stokes
from armseg_core.errors import ArmsegWarning, FormatError, UsageError
from armseg_core.sensors.polarization import demosaic
from armseg_core.sensors.polarization import readers as polarization
from armseg_core.sensors.polarization import representations as rep
from armseg_core.sensors.polarization.options import PolarizationOptions


def mosaic_of(pictures: dict[int, np.ndarray], pattern=(90, 45, 135, 0)) -> np.ndarray:
    out = np.zeros_like(pictures[0])
    for i, angle in enumerate(pattern):
        out[i // 2 :: 2, i % 2 :: 2] = pictures[angle][i // 2 :: 2, i % 2 :: 2]
    return out


# --- Stokes parameters ---


def test_horizontal_light_by_hand():
    """Fully polarized along 0 degrees, S = (1, 1, 0): I0 = 1, I45 = I135 = 1/2, I90 = 0."""
    intensity = np.array([1, 0.5, 0, 0.5], np.float32).reshape(4, 1, 1)
    s = rep.stokes_parameters(intensity, (0.0, 45.0, 90.0, 135.0))
    np.testing.assert_allclose(s.ravel(), [1, 1, 0])
    np.testing.assert_allclose(rep.polarization_state(s).ravel(), [1, 1, 0, 1])


def test_light_at_30_degrees_by_hand():
    """S0 = 2, DoLP = 0.6, AoLP = 30 degrees: S1 = 1.2 cos 60 = 0.6, S2 = 1.2 sin 60 = 1.03923."""
    s = np.array([2, 0.6, 1.2 * np.sqrt(3) / 2, 0]).reshape(4, 1, 1)
    intensity = np.stack([behind(s, a) for a in ANGLES]).astype(np.float32)
    # I(a) = (S0 + S1 cos 2a + S2 sin 2a) / 2
    np.testing.assert_allclose(intensity.ravel(), [1.3, 1.519615, 0.7, 0.480385], atol=1e-6)
    state = rep.polarization_state(rep.stokes_parameters(intensity, tuple(map(float, ANGLES))))
    np.testing.assert_allclose(state.ravel(), [2, 0.6, np.sqrt(3) / 2, 0.5], atol=1e-6)


@pytest.mark.parametrize("angles", [(0, 45, 90, 135), (0, 60, 120), (10, 50, 100, 140, 170)])
def test_random_light_through_mueller_matrices(angles):
    s = light()
    intensity = np.stack([behind(s, a) for a in angles]).astype(np.float32)
    np.testing.assert_allclose(rep.stokes_parameters(intensity, tuple(map(float, angles))), s[:3], atol=1e-6)


def test_unpolarized_and_dark_pixels_have_no_angle():
    s = np.zeros((3, 1, 2), np.float32)
    s[0, 0, 0] = 1
    made = rep.stokes(Stokes(s, np.zeros((1, 2), bool)), OPTIONS)
    frame, names = made.values, made.channels
    assert names == ("s0", "dolp", "sin2aolp", "cos2aolp")
    np.testing.assert_array_equal(frame[:, 0, 0], [1, 0, 0, 0])
    np.testing.assert_array_equal(frame[:, 0, 1], 0)
    assert np.isfinite(frame).all()


def test_degree_is_clipped_and_saturated_pixels_are_reported():
    intensity = np.array([1, 0, 0, 0], np.float32).reshape(4, 1, 1).repeat(2, axis=2)
    saturated = np.array([[False, True]])
    with pytest.warns(ArmsegWarning, match=r"50.00% of the pixels are saturated"):
        frame = rep.stokes(PolarizedImages(intensity, tuple(map(float, ANGLES)), saturated), OPTIONS).values
    assert frame[1, 0, 0] == 1
    np.testing.assert_array_equal(frame[1:, 0, 1], 0)


def test_a_share_of_saturated_pixels_that_reads_as_zero_is_no_warning():
    saturated = np.zeros((200, 200), bool)
    saturated[0, 0] = True
    images = PolarizedImages(np.full((4, 200, 200), 0.2, np.float32), tuple(map(float, ANGLES)), saturated)
    assert not rep.stokes(images, OPTIONS).values[1:, 0, 0].any()  # a warning would be an error
    saturated[0, :4] = True
    with pytest.warns(ArmsegWarning, match=r"0.01% of the pixels"):
        rep.stokes(images, OPTIONS)


def test_horizontal_flip_of_the_scene_negates_sin():
    """Mirrored light: the picture is flipped, and the angle A becomes -A, so that sin 2A changes sign."""
    s = light()
    mirrored = s[:, :, ::-1] * np.array([1, 1, -1, -1]).reshape(4, 1, 1)  # Mueller matrix of a mirror image

    def frame(x):
        intensity = np.stack([behind(x, a) for a in ANGLES]).astype(np.float32)
        data = PolarizedImages(intensity, tuple(map(float, ANGLES)), np.zeros(s.shape[1:], bool))
        return rep.stokes(data, OPTIONS).values

    expected = frame(s)[:, :, ::-1] * np.array([1, 1, -1, 1], np.float32).reshape(4, 1, 1)
    np.testing.assert_allclose(frame(mirrored), expected, atol=1e-5)


def test_aolp_dolp_and_angles():
    s = light()
    data = Stokes(s[:3].astype(np.float32), np.zeros(s.shape[1:], bool))
    made = rep.aolp_dolp(data, OPTIONS)
    frame, names, units = made.values, made.channels, made.units
    assert names == ("aolp", "dolp", "valid")
    assert units[0] == "rad"
    assert frame[0].min() >= 0
    assert frame[0].max() < np.pi
    truth = np.mod(np.arctan2(s[2], s[1]) / 2, np.pi)
    np.testing.assert_allclose(np.abs(np.sin(frame[0] - truth)), 0, atol=1e-5)
    np.testing.assert_allclose(frame[1], np.hypot(s[1], s[2]) / s[0], atol=1e-5)
    made = rep.angles(data, OPTIONS)
    intensity, names = made.values, made.channels
    assert names == ("i0", "i45", "i90", "i135")
    np.testing.assert_allclose(intensity, [behind(s, a) for a in ANGLES], atol=1e-6)


def test_resizing_averages_stokes_parameters_not_angles():
    """Half light at 10 degrees, half at 170: the mean angle is 0, not 90."""
    angle = np.radians([[10, 170]])
    s = np.stack([np.ones((1, 2)), np.cos(2 * angle), np.sin(2 * angle)]).astype(np.float32)
    frame = rep.stokes(Stokes(s, np.zeros((1, 2), bool)), PolarizationOptions(size=(1, 1))).values
    np.testing.assert_allclose(frame.ravel(), [1, np.cos(np.radians(20)), 0, 1], atol=1e-6)


# --- mosaics ---


def test_mosaic_of_uniform_light_gives_its_stokes_parameters(tmp_path):
    s = np.array([0.8, 0.3, -0.2, 0]).reshape(4, 1, 1) * np.ones((1, 6, 8))
    mosaic = mosaic_of({a: behind(s, a) for a in ANGLES})
    path = png(tmp_path / "m.png", np.rint(mosaic * 4095).astype(np.uint16))
    data = read(path, bits=12)
    assert data.angles_deg == ANGLES
    assert data.intensity.shape == (4, 6, 8)
    got = rep.stokes_parameters(data.intensity, data.angles_deg)
    np.testing.assert_allclose(got, s[:3], atol=5e-4)


def test_demosaic_is_bilinear_and_keeps_its_samples():
    """A picture that is linear in x and y is interpolated exactly away from the border."""
    y, x = np.mgrid[0:10, 0:12].astype(np.float32)
    pictures = {a: (k + 1) * 0.1 + 0.01 * (k + 1) * x + 0.02 * y for k, a in enumerate(ANGLES)}
    mosaic = mosaic_of(pictures).astype(np.float32)
    full = demosaic.demosaic_polarizers(mosaic, (90, 45, 135, 0))
    for k, a in enumerate(ANGLES):
        np.testing.assert_allclose(full[k, 1:-1, 1:-1], pictures[a][1:-1, 1:-1], atol=1e-6)
    np.testing.assert_array_equal(full[0, 1::2, 1::2], mosaic[1::2, 1::2])  # 0 degrees stands bottom right
    half = demosaic.demosaic_polarizers(mosaic, (90, 45, 135, 0), half=True)
    assert half.shape == (4, 5, 6)
    np.testing.assert_array_equal(half[2], mosaic[::2, ::2])


@pytest.mark.parametrize("pattern", [(0, 45, 135, 90), (45, 0, 90, 135)])
def test_pattern_option(tmp_path, pattern):
    s = np.array([0.8, 0.3, -0.2, 0]).reshape(4, 1, 1) * np.ones((1, 6, 8))
    mosaic = mosaic_of({a: behind(s, a) for a in ANGLES}, pattern)
    path = png(tmp_path / "m.png", np.rint(mosaic * 4095).astype(np.uint16))
    data = read(path, bits=12, pattern=",".join(map(str, pattern)))
    np.testing.assert_allclose(rep.stokes_parameters(data.intensity, data.angles_deg), s[:3], atol=5e-4)


def test_an_assumed_cell_is_said_and_a_given_one_is_not(tmp_path):
    path = png(tmp_path / "m.png", np.full((4, 6), 100, np.uint8))
    with pytest.warns(ArmsegWarning, match=r"assumed cell 90,45,135,0 \(Sony IMX250MZR\).*--pattern"):
        read(path, pattern=None)
    read(path, pattern="90,45,135,0")  # a warning would be an error


@pytest.mark.parametrize("command", ["inspect", "convert", "visualize"])
def test_every_command_names_the_assumed_cell_and_takes_another(armseg, tmp_path, command):
    path = png(tmp_path / "mosaic.png", np.full((4, 6), 100, np.uint8))
    result = armseg(command, path, "-m", "polarization", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    assert "assumed cell 90,45,135,0" in result.output
    result = armseg(command, path, "-m", "polarization", "--pattern", "45,0,90,135", cwd=tmp_path)
    assert result.exit_code == 0, result.output
    assert "assumed cell" not in result.output


@pytest.mark.parametrize("bayer", ["rggb", "bggr", "grbg", "gbrg"])
@pytest.mark.parametrize("how", ["bilinear", "half"])
def test_color_mosaic_round_trip(tmp_path, bayer, how):
    """Uniform colored light through a quad-Bayer sensor, built pixel by pixel."""
    colors = {
        "r": np.array([0.9, 0.5, 0.1, 0]),
        "g": np.array([0.5, -0.2, 0.3, 0]),
        "b": np.array([0.3, 0, -0.1, 0]),
    }
    pattern = (90, 45, 135, 0)
    mosaic = np.zeros((8, 12), np.uint16)
    for y in range(8):
        for x in range(12):
            color = bayer[(y // 2 % 2) * 2 + x // 2 % 2]  # 2x2 blocks of one color
            angle = pattern[(y % 2) * 2 + x % 2]
            value = behind(colors[color].reshape(4, 1, 1), angle)[0, 0]
            mosaic[y, x] = round(value * 4095)
    data = read(png(tmp_path / "m.png", mosaic), bayer=bayer, bits=12, demosaic=how)
    assert data.intensity.shape == ((4, 8, 12, 3) if how == "bilinear" else (4, 4, 6, 3))
    for i, c in enumerate("rgb"):
        got = rep.stokes_parameters(data.intensity[..., i], data.angles_deg)
        np.testing.assert_allclose(got, np.broadcast_to(colors[c][:3, None, None], got.shape), atol=5e-4)
    mean = np.mean([colors[c] for c in "rgb"], axis=0)
    frame = rep.stokes(data, QUIET).values
    np.testing.assert_allclose(frame[0], mean[0], atol=5e-4)
    np.testing.assert_allclose(frame[1], np.hypot(mean[1], mean[2]) / mean[0], atol=2e-3)


def test_bayer_equals_opencv_inside():
    """On smooth colors our float Bayer interpolation and OpenCV's integer one agree to rounding."""
    y, x = np.mgrid[0:16, 0:20]
    rgb = np.stack([50 + 4 * x, 60 + 3 * y, 40 + 2 * x + 2 * y], -1).astype(np.uint8)
    mosaic = np.zeros((16, 20), np.uint8)
    for (r, c), i in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        mosaic[r::2, c::2] = rgb[r::2, c::2, i]
    ours = demosaic.demosaic_bayer(mosaic.astype(np.float32), "rggb")
    theirs = cv2.cvtColor(mosaic, cv2.COLOR_BayerRGGB2RGB)
    assert np.abs(ours - theirs)[2:-2, 2:-2].max() <= 1
    np.testing.assert_allclose(ours[2:-2, 2:-2], rgb[2:-2, 2:-2], atol=1e-4)


def test_sixteen_bits_survive(tmp_path):
    mosaic = np.full((4, 4), 40001, np.uint16)
    mosaic[0, 0] = 40002
    intensity = read(png(tmp_path / "m.png", mosaic)).intensity
    assert intensity[2, 0, 0] == np.float32(40002 / 65535)
    assert intensity[2, 2, 2] == np.float32(40001 / 65535)


@pytest.mark.parametrize(
    ("values", "text", "full"),
    [
        ([5, 4095], "taken as 12-bit samples", 4095),
        ([16, 65520], "low 4 bits are never set: taken as 12-bit", 65520),
    ],
)
def test_alignment_of_12_bits_is_found_and_said(tmp_path, values, text, full):
    path = png(tmp_path / "m.png", np.array(values * 2, np.uint16).reshape(2, 2))
    with pytest.warns(ArmsegWarning, match=text):
        data = read(path)
    assert data.intensity.max() == 1
    assert data.saturated.all()  # a 2x2 picture: every pixel uses the clipped one
    same = read(path, bits=12)
    np.testing.assert_allclose(same.intensity, data.intensity)
    assert data.intensity.min() == pytest.approx(values[0] / full, rel=1e-5)


def test_values_that_do_not_fit_the_bits(tmp_path):
    path = png(tmp_path / "m.png", np.array([[1, 5000], [3, 4]], np.uint16))
    with pytest.raises(FormatError, match="5000 does not fit 12 bits"):
        read(path, bits=12)


def test_saturation_reaches_as_far_as_the_interpolation():
    mosaic = np.full((12, 12), 1000, np.uint16)
    mosaic[5, 6] = 4095
    values, clipped = polarization._linear(mosaic, Path("m.png"), QUIET)
    spread = demosaic.demosaic_polarizers(clipped.astype(np.float32), QUIET.cell) > 0
    assert values.max() == 1
    rows, columns = np.nonzero(spread.any(axis=0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 6, 5, 7)


def test_gamma_is_undone(tmp_path):
    path = png(tmp_path / "m.png", np.full((2, 2), 128, np.uint8))
    np.testing.assert_allclose(read(path, gamma=2.2).intensity, (128 / 255) ** 2.2, rtol=1e-5)


def test_calibration_matrix(tmp_path):
    """One polarizer passes 10 % less: the matrix that repairs it restores unpolarized light."""
    mosaic = np.full((4, 6), 2000, np.uint16)
    mosaic[1::2, 1::2] = 1800  # behind 0 degrees
    path = png(tmp_path / "m.png", mosaic)
    matrix = np.diag([1 / 0.9, 1, 1, 1])
    np.save(tmp_path / "c.npy", matrix)
    np.save(tmp_path / "pixels.npy", np.broadcast_to(matrix, (4, 6, 4, 4)).copy())
    np.save(tmp_path / "bad.npy", np.eye(3))
    assert rep.stokes(read(path, bits=12), QUIET).values[1].max() > 0.03
    for name in ("c.npy", "pixels.npy"):
        data = read(path, bits=12, calibration=tmp_path / name)
        np.testing.assert_allclose(rep.stokes(data, QUIET).values[1], 0, atol=1e-6)
    with pytest.raises(FormatError, match=r"\(4, 4\) or \(4, 6, 4, 4\)"):
        read(path, bits=12, calibration=tmp_path / "bad.npy")


@pytest.mark.parametrize(("shape", "bayer"), [((5, 6), "none"), ((6, 5), "none"), ((6, 8), "rggb")])
def test_odd_sizes_are_refused(tmp_path, shape, bayer):
    path = png(tmp_path / "m.png", np.full(shape, 1000, np.uint16))
    with pytest.raises(FormatError, match=r"cuts a \dx\d cell in two"):
        read(path, bayer=bayer)


def test_three_equal_channels_are_gray_and_colors_are_refused(tmp_path):
    gray = np.random.default_rng(0).integers(0, 255, (4, 4, 1)).astype(np.uint8).repeat(3, axis=2)
    path = png(tmp_path / "g.png", gray)
    assert polarization.read_mosaic(path, OPTIONS).intensity.shape == (4, 4, 4)
    gray[0, 0, 1] ^= 1
    with pytest.raises(FormatError, match="in color"):
        polarization.read_mosaic(png(tmp_path / "c.png", gray), OPTIONS)


def test_pattern_must_name_each_angle_once():
    with pytest.raises(UsageError, match="0, 45, 90 and 135"):
        PolarizationOptions.parse({"pattern": "0,45,45,90"})


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["uint8", "uint16", "int32", "float32", "bool", "complex64"]),
    st.integers(0, 2**31),
    st.sampled_from(["none", "rggb"]),
)
@pytest.mark.filterwarnings("ignore::armseg_core.errors.ArmsegWarning")
def test_any_npy_gives_a_result_or_a_format_error(tmp_path_factory, h, w, dtype, seed, bayer):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("p") / "m.npy"
    np.save(path, (rng.random((h, w)) * 300).astype(dtype))
    try:
        data = polarization.read_mosaic(path, PolarizationOptions(bayer=bayer))
    except FormatError:
        return
    frame = rep.stokes(data, OPTIONS).values
    assert frame.shape == (4, h, w)
    assert np.isfinite(frame).all()
    assert frame[1].min() >= 0
    assert frame[1].max() <= 1
