"""What every reader of pictures and point clouds promises: content tests never raise, and damaged files end
in an ArmsegError, whatever the bytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_writer import pfm, png, tiff

from armseg_core.errors import ArmsegError, InputError
from armseg_core.files.image_headers import image_header
from armseg_core.files.npy import read_npy
from armseg_core.files.pictures import read_image
from armseg_core.sensors import SENSORS
from armseg_core.sensors.modalities import MODALITIES
from armseg_core.sensors.recognition import readers_for

ROWS = [row for row in readers_for() if row.modality != "event"]
MAGICS = (
    b"",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"II*\0",
    b"MM\0*",
    b"\xff\xd8\xff\xe1",
    b"\x93NUMPY\1\0",
    b"PK\3\4",
    b"Pf\n",
    b"P5\n",
    b"\x89LFP",
    b"FFF\0",
    b"ply\n",
    b"LASF",
    b"# .PCD\nFIELDS x y z\nDATA ",
    b"\x76\x2f\x31\x01",
    b"\x89HDF\r\n\x1a\n",
    b"MATLAB 7.3",
)
SUFFIXES = (
    ".png",
    ".tiff",
    ".jpg",
    ".npy",
    ".npz",
    ".pfm",
    ".pgm",
    ".h5",
    ".mat",
    ".exr",
    ".bin",
    ".pcd.bin",
    ".pcd",
    ".ply",
    ".las",
    ".lfp",
    ".seq",
    "",
)


def test_names_are_unique_and_rows_are_complete():
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert {row.modality for row in ROWS} == set(MODALITIES) - {"rgb", "event"}
    for row in ROWS:
        assert row.title
        assert row.patterns
        assert row.notes or row.refuse
    for modality in SENSORS:
        names = [row.name for row in SENSORS[modality].representations]
        assert len(set(names)) == len(names)
        if modality != "event":
            assert MODALITIES[modality].representation == names[0]
            assert "size" in SENSORS[modality].options.model_fields


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=200), st.sampled_from(SUFFIXES))
def test_content_tests_never_raise(tmp_path_factory, magic, data, suffix):
    path = tmp_path_factory.mktemp("m") / f"a_0{suffix}"
    path.write_bytes(magic + data)
    for row in ROWS:
        assert row.matches(path) in (True, False)


def test_content_tests_of_missing_files_and_odd_folders(tmp_path):
    (tmp_path / "1_1.png").mkdir()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for path in (tmp_path, tmp_path / "missing.png", tmp_path / "1_1.png", tmp_path / "broken"):
        for row in ROWS:
            assert row.matches(path) is False, (row.name, path)


def valid_files(folder: Path) -> dict[str, Path]:
    """One whole file of every container."""
    rng = np.random.default_rng(0)
    values = rng.integers(500, 20_000, (16, 16)).astype(np.uint16)
    np.save(folder / "a.npy", values)
    np.save(folder / "lf.npy", rng.integers(0, 255, (2, 2, 8, 8, 3)).astype(np.uint8))
    np.savez(folder / "depth.npz", depth=values)
    with h5py.File(folder / "a.h5", "w") as f:
        f["depth"] = values.astype(np.float32)
        f["LF"] = np.zeros((2, 2, 4, 4, 3), np.uint8)
    points = rng.uniform(0, 1, (8, 4)).astype("<f4")
    (folder / "a.bin").write_bytes(points.tobytes())
    header = "FIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    header += "WIDTH 8\nHEIGHT 1\nPOINTS 8\nDATA binary\n"
    (folder / "a.pcd").write_bytes(header.encode() + points.tobytes())
    ply = "ply\nformat binary_little_endian 1.0\nelement vertex 8\n"
    ply += "".join(f"property float {n}\n" for n in ("x", "y", "z", "intensity")) + "end_header\n"
    (folder / "a.ply").write_bytes(ply.encode() + points.tobytes())
    pfm(folder / "a.pfm", values.astype(np.float32))
    png(folder / "a.png", values)
    png(folder / "rgb.png", rng.integers(0, 255, (8, 8, 3)).astype(np.uint8))
    png(folder / "rgba.png", rng.integers(0, 255, (8, 8, 4)).astype(np.uint8))
    tiff(folder / "a.tiff", values)
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in valid_files(tmp_path_factory.mktemp("valid")).items()}


def read_with_every_row(path: Path, forced: bool) -> int:
    """Number of rows that read it; anything but an ArmsegError is a defect."""
    count, messages = 0, []
    for row in ROWS:
        if forced or row.matches(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    row.read(path, SENSORS[row.modality].options())
                    count += 1
                except ArmsegError as error:
                    messages.append(str(error))
    assert all(len(message.splitlines()) == 1 for message in messages)
    return count


def test_every_container_is_read_by_some_row(files, tmp_path):
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        if name != "rgb.png":  # needs --angular or --depth-unit
            assert read_with_every_row(tmp_path / name, forced=False) > 0, name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_end_in_an_armseg_error(files, tmp_path, data):
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, min(len(content) - 1, 400)))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(bytes(content))
    read_with_every_row(path, forced=True)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_missing_and_empty_files(row, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    for path in (tmp_path / "missing", tmp_path / "empty"):
        with pytest.raises(ArmsegError):
            row.read(path, SENSORS[row.modality].options())


def test_unreadable_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "a.png")
    with pytest.raises(InputError, match="no such file"):
        read_npy(tmp_path / "a.npy")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_samples_and_header(tmp_path, dtype, channels):
    shape = (5, 7) if channels == 1 else (5, 7, channels)
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    path = png(tmp_path / "a.png", image)
    header = image_header(path)
    assert (header.kind, header.size, header.channels, header.bits) == (
        "png",
        (5, 7),
        channels,
        8 * image.dtype.itemsize,
    )
    got = read_image(path)
    assert got.dtype == dtype
    if channels != 2:  # OpenCV widens gray + alpha to 4 channels
        np.testing.assert_array_equal(got, image)
    else:
        np.testing.assert_array_equal(got[..., 0], image[..., 0])
        np.testing.assert_array_equal(got[..., -1], image[..., 1])


def test_label_pictures_with_a_palette_are_no_recordings(tmp_path):
    from PIL import Image

    label = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    label.putpalette([i % 256 for i in range(768)])
    label.save(tmp_path / "label.png")
    assert not [row.name for row in ROWS if row.matches(tmp_path / "label.png")]


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_header(tmp_path, order):
    header = image_header(tiff(tmp_path / "a.tiff", np.zeros((5, 7), np.float32), order))
    assert (header.kind, header.size, header.channels, header.bits, header.floating) == (
        "tiff",
        (5, 7),
        1,
        32,
        True,
    )
