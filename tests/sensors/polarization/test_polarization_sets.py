"""Polarization as one picture per angle, Stokes arrays, AoLP / DoLP arrays."""

from __future__ import annotations

import numpy as np
import pytest
from picture_writer import png
from polarized_light import ANGLES, OPTIONS, behind, light, read

from armseg_core.arrays import Stokes
from armseg_core.conversion.discovery import find_recordings
from armseg_core.conversion.folder import convert_folder
from armseg_core.errors import ArmsegWarning, FormatError, UsageError
from armseg_core.sensors.polarization import readers as polarization
from armseg_core.sensors.polarization import representations as rep
from armseg_core.sensors.polarization.options import PolarizationOptions
from armseg_core.sensors.recognition import sniff


@pytest.fixture
def pictures() -> dict[int, np.ndarray]:
    s = light(6, 8)
    return {a: np.rint(behind(s, a) * 65535).astype(np.uint16) for a in ANGLES}


@pytest.mark.parametrize(
    "name",
    ["img_{}.png", "{:03d}.png", "I{}.png", "{}deg.png", "scene7-{}.png", "{}d/a.png", "pol_I{:03d}/a.png"],
)
def test_angle_sets(tmp_path, pictures, name):
    for angle, picture in pictures.items():
        png(tmp_path / "set" / name.format(angle), picture)
    one = tmp_path / "set" / name.format(45)
    for path in (tmp_path / "set", one):
        data = read(path)
        assert data.angles_deg == ANGLES
        np.testing.assert_allclose(
            rep.stokes_parameters(data.intensity, data.angles_deg), light(6, 8)[:3], atol=1e-4
        )


def test_a_sequence_of_frames_is_no_set(tmp_path, pictures):
    for number in range(0, 136, 45):
        png(tmp_path / f"frame_{number}.png", pictures[0])
    png(tmp_path / "frame_1.png", pictures[0])
    assert sniff(tmp_path / "frame_45.png", "polarization").name == "dofp"


def test_set_with_a_missing_or_differing_picture(tmp_path, pictures):
    for angle, picture in pictures.items():
        png(tmp_path / f"a_{angle}.png", picture)
    png(tmp_path / "a_90.png", pictures[90][:4])
    with pytest.raises(FormatError, match=r"a_90\.png: the picture is"):
        read(tmp_path)
    (tmp_path / "a_90.png").unlink()
    with pytest.raises(FormatError, match="no complete set"):
        polarization.read_angle_set(tmp_path, OPTIONS)


def test_three_angle_set_and_bayer_set(tmp_path):
    s = light(6, 8)
    for angle in (0, 60, 120):
        png(tmp_path / "three" / f"x_{angle}.png", np.rint(behind(s, angle) * 65535).astype(np.uint16))
    data = read(tmp_path / "three")
    np.testing.assert_allclose(rep.stokes_parameters(data.intensity, data.angles_deg), s[:3], atol=1e-4)
    for angle in ANGLES:
        png(tmp_path / "bayer" / f"{angle}d" / "x.png", np.full((4, 4), 100, np.uint8))
    assert read(tmp_path / "bayer" / "0d" / "x.png", bayer="grbg").intensity.shape == (4, 4, 4, 3)


def converted(folder, tmp_path, modality=None) -> list[str]:
    made = convert_folder([folder], tmp_path / "out", modality=modality, workers=1, progress=False)
    assert not made.failed, made.outcomes
    return [str(entry["output"]) for entry in made.outcomes]


def write_set(folder, pictures, name, *, color=False) -> None:
    for angle, picture in pictures.items():
        png(folder / name.format(angle), picture[..., None].repeat(3, -1) if color else picture)


@pytest.mark.parametrize("modality", [None, "polarization"])
@pytest.mark.parametrize("color", [False, True])
def test_two_sets_in_a_folder_are_two_recordings(tmp_path, pictures, modality, color):
    pictures = {angle: (picture >> 8).astype(np.uint8) for angle, picture in pictures.items()}
    write_set(tmp_path / "two", pictures, "street_I{}.png")
    write_set(tmp_path / "two", pictures, "kettle_I{}.png", color=color)
    made = converted(tmp_path / "two", tmp_path, modality)
    assert made == ["kettle_I0.stokes.h5", "street_I0.stokes.h5"]


def test_mosaics_beside_a_set_are_converted_too(tmp_path, pictures):
    folder = tmp_path / "polarization"
    write_set(folder, pictures, "shot_I{}.png")
    png(folder / "mosaic.png", pictures[0])
    png(folder / "more.png", pictures[45])
    made = converted(folder, tmp_path)
    assert made == ["more.stokes.h5", "mosaic.stokes.h5", "shot_I0.stokes.h5"]
    for name in ("mosaic.png", "more.png"):
        (folder / name).unlink()
    assert [found.source for found in find_recordings([folder])[1]] == [folder]  # now the folder is the set


def test_files_that_are_one_recording_are_converted_once(tmp_path, pictures):
    folder = tmp_path / "scenes"
    for name in ("a", "b"):
        write_set(folder / "angles", pictures, f"{{}}deg/{name}.png")
        for what in ("aolp", "dolp"):
            (folder / "arrays").mkdir(exist_ok=True)
            np.save(folder / "arrays" / f"{name}_{what}.npy", np.full((6, 8), 0.5))
    assert converted(folder, tmp_path) == [
        *(f"angles/0deg/{name}.stokes.h5" for name in "ab"),
        *(f"arrays/{name}_aolp.stokes.h5" for name in "ab"),
    ]
    one = folder / "angles" / "90deg" / "b.png"  # one that is named stands for the set
    found = find_recordings([one, folder / "angles" / "0deg" / "b.png"])[1]
    assert [item.source for item in found] == [one]


@pytest.mark.parametrize("layout", ["hw3", "hw4", "3hw", "hw43", "hwc4"])
def test_stokes_arrays(tmp_path, layout):
    s = light().astype(np.float32)
    hw4 = np.moveaxis(s, 0, -1)
    array = {
        "hw3": hw4[..., :3],
        "hw4": hw4,
        "3hw": s[:3],
        "hw43": hw4[..., None].repeat(3, -1),
        "hwc4": hw4[:, :, None].repeat(3, 2),
    }[layout]
    np.save(tmp_path / "s.npy", array)
    got = read(tmp_path / "s.npy")
    np.testing.assert_allclose(got.s, s[:3], atol=1e-6)


def test_stokes_arrays_that_cannot_be_right(tmp_path):
    for array, text in (
        (np.zeros((5, 6, 3)), "nowhere positive"),
        (np.ones((5, 6, 7)), "has shape"),
        (np.ones((5, 6, 3), bool), "holds bool"),
    ):
        np.save(tmp_path / "s.npy", array)
        with pytest.raises(FormatError, match=text):
            polarization.read_stokes(tmp_path / "s.npy", OPTIONS)
    bad = np.ones((5, 6, 3))
    bad[0, 0] = np.nan
    np.save(tmp_path / "s.npy", bad)
    assert np.isfinite(rep.stokes(read(tmp_path / "s.npy"), OPTIONS).values).all()


def test_aolp_and_dolp_arrays(tmp_path):
    s = light()
    aolp, dolp = np.arctan2(s[2], s[1]) / 2, np.hypot(s[1], s[2]) / s[0]
    np.save(tmp_path / "x_aolp.npy", aolp)
    np.save(tmp_path / "x_dolp.npy", dolp)
    frame = rep.stokes(read(tmp_path / "x_dolp.npy"), OPTIONS).values
    np.testing.assert_allclose(frame[1], dolp, atol=1e-6)
    np.testing.assert_allclose(frame[2], np.sin(2 * aolp), atol=1e-5)
    np.testing.assert_allclose(frame[0], 1)
    np.save(tmp_path / "x_s0.npy", s[0])
    np.testing.assert_allclose(rep.stokes(read(tmp_path / "x_aolp.npy"), OPTIONS).values[0], s[0], atol=1e-6)
    np.save(tmp_path / "x_aolp.npy", np.degrees(aolp))
    with pytest.raises(FormatError, match="--aolp-unit deg"):
        read(tmp_path / "x_dolp.npy")
    degrees = rep.stokes(read(tmp_path / "x_dolp.npy", aolp_unit="deg"), OPTIONS).values
    np.testing.assert_allclose(degrees[2], np.sin(2 * aolp), atol=1e-5)
    np.save(tmp_path / "x_dolp.npy", 100 * dolp)
    with pytest.raises(FormatError, match="DoLP reaches"):
        read(tmp_path / "x_dolp.npy", aolp_unit="deg")


@pytest.mark.parametrize("factor", [1, 2])
def test_mcubes_gives_twice_the_angle_whichever_its_arrays_hold(tmp_path, factor):
    rng = np.random.default_rng(0)
    angle, dolp = rng.uniform(0, np.pi, (4, 6)), rng.uniform(0.1, 0.9, (4, 6))
    noisy = rng.uniform(0.9, 1.1, (4, 6))  # sine and cosine need not be of unit length
    for folder, array in (
        ("polL_aolp_sin", noisy * np.sin(factor * angle)),
        ("polL_aolp_cos", noisy * np.cos(factor * angle)),
        ("polL_dolp", dolp),
    ):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a1.npy", array)
    color = png(tmp_path / "polL_color" / "a1.png", np.full((4, 6, 3), (204, 102, 51), np.uint8))
    s0 = (0.299 * 204 + 0.587 * 102 + 0.114 * 51) / 255
    for path in (tmp_path / "polL_dolp" / "a1.npy", color):
        assert sniff(path, "polarization").name == "mcubes"
        with pytest.warns(ArmsegWarning, match=f"cosine of {'A' if factor == 1 else '2A'} "):
            data = read(path)
        frame = rep.stokes(data, OPTIONS).values
        truth = np.stack([np.full((4, 6), s0), dolp, np.sin(2 * angle), np.cos(2 * angle)])
        np.testing.assert_allclose(frame, truth, atol=2e-6)
        for make in (rep.stokes, rep.angles, rep.aolp_dolp):
            whole, cut = (make(data, PolarizationOptions(crop_left=n)).values for n in (0, 2))
            np.testing.assert_array_equal(cut, whole[..., 2:])


def test_a_crop_that_leaves_nothing_is_refused():
    data = Stokes(np.ones((3, 4, 6), np.float32), np.zeros((4, 6), bool))
    with pytest.raises(UsageError, match=r"--crop-left: cuts off 6 columns.*less than the 6"):
        rep.stokes(data, PolarizationOptions(crop_left=6))
