"""Damaged, hostile and special files: each is refused in one line that names the fact, and stops no other."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import raw_files
from lidar_clouds import write_calibration
from one_line import assert_refused

from armseg_core.conversion.folder import convert_folder
from armseg_core.files.limits import UNPACKED_BYTES

HUGE = 1 << 20  # a side: 2^40 samples, which nothing here holds


# --- one bad file of a folder ----------------------------------------------------------------------------


def test_damaged_hdf5_files_stop_no_other(tmp_path: Path) -> None:
    """Every byte of a small file changed in turn: h5py raises OSError, RuntimeError, KeyError and others."""
    folder = tmp_path / "in"
    raw_files.depth(folder / "depth.png")
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        for name in "xytp":
            file[f"events/{name}"] = np.arange(20) % 2
        file.attrs.update(height=4, width=4)
    whole = (tmp_path / "whole.h5").read_bytes()
    for place in range(96, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0xA5
        (folder / f"events_{place}.h5").write_bytes(damaged)
    made = convert_folder([folder], tmp_path / "out", workers=1, progress=False)
    assert made.converted > 1, made.outcomes
    assert (tmp_path / "out" / "depth.metric.h5").is_file()
    for entry in made.outcomes:
        assert entry["status"] != "failed" or "internal error" not in entry["error"], entry["error"]


class PanicException(BaseException):
    """Named as what pyo3 makes of a panic."""


def test_a_panic_is_the_failure_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from armseg_core.conversion import recording

    raw_files.depth(tmp_path / "in" / "a_depth.png")
    raw_files.thermal(tmp_path / "in" / "thermal.tiff")
    usual = recording.Recording.of

    def panics(reading):
        if reading.path.name == "a_depth.png":
            raise PanicException("index out of bounds")
        return usual(reading)

    monkeypatch.setattr(recording.Recording, "of", staticmethod(panics))
    made = convert_folder([tmp_path / "in"], tmp_path / "out", workers=1, progress=False)
    assert (made.converted, made.failed) == (1, 1)


def test_a_panic_of_a_command_is_one_line(tmp_path: Path, armseg, monkeypatch: pytest.MonkeyPatch) -> None:
    from armseg_core.conversion import recording

    def panics(reading):
        raise PanicException("index out of bounds")

    monkeypatch.setattr(recording.Recording, "of", staticmethod(panics))
    done = armseg("inspect", raw_files.depth(tmp_path / "depth.png"))
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1


# --- pipes, devices, sockets -----------------------------------------------------------------------------


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "depth.png")
    return tmp_path / "depth.png"


@pytest.mark.parametrize("command", ["convert", "inspect", "visualize"])
def test_a_pipe_is_refused_and_not_waited_for(armseg, pipe: Path, command: str) -> None:
    assert_refused(armseg(command, pipe), "is a named pipe", "expected a file")


@pytest.mark.parametrize("name", ["events.h5", "events.raw", "a.npz", "a.las", "a.bag", "a.csv", "x.bin"])
def test_a_pipe_of_any_name_is_refused(armseg, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert_refused(armseg("convert", tmp_path / name), "is a named pipe")


def test_a_device_is_refused(armseg) -> None:
    assert_refused(armseg("inspect", "/dev/zero"), "is a device")


def test_pipes_in_a_folder_stop_no_other(tmp_path: Path, pipe: Path) -> None:
    os.mkfifo(tmp_path / "notes")
    raw_files.thermal(tmp_path / "thermal.tiff")
    made = convert_folder([tmp_path], tmp_path / "out", workers=1, progress=False)
    assert [(entry["input"], entry["status"]) for entry in made.outcomes] == [
        ("depth.png", "failed"),
        ("thermal.tiff", "converted"),
    ]


def test_a_pipe_as_photo_text_or_calibration(tmp_path: Path, pipe: Path, armseg) -> None:
    from armseg_core.errors import InputError
    from armseg_core.files.npy import read_npy
    from armseg_core.files.pictures import picture_name, read_label, read_rgb
    from armseg_core.files.text import read_text

    for read in (read_rgb, read_label, read_text, read_npy):
        with pytest.raises(InputError, match="is a named pipe"):
            read(pipe)
    assert picture_name(pipe) == ""
    raw_files.lidar(tmp_path / "lidar.bin")
    os.mkfifo(tmp_path / "c.json")
    assert_refused(armseg("convert", tmp_path / "lidar.bin", "--calibration", tmp_path / "c.json"))


# --- declared sizes --------------------------------------------------------------------------------------


def npy_bytes(shape: tuple[int, ...], dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def png_bytes(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    rows = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bomb(path: Path) -> Path:  # noqa: C901  (one case for each kind of file)
    """A file of a few kilobytes that declares a terabyte or more, of the kind of its name."""
    match path.name:
        case "depth.npy":
            path.write_bytes(npy_bytes((HUGE, HUGE)) + bytes(64))
        case "depth.npz" | "events.npz":
            names = "xytp" if path.name == "events.npz" else ["depth"]
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in names:
                    shape = (HUGE * HUGE,) if len(names) > 1 else (HUGE, HUGE)
                    archive.writestr(f"{name}.npy", npy_bytes(shape) + bytes(64))
        case "zeros.npz":  # what is declared is there, 1032 times smaller
            with (
                zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
                archive.open("depth.npy", "w") as member,
            ):
                member.write(npy_bytes((UNPACKED_BYTES // 2**14, 2**13)))
                for _ in range(2 * UNPACKED_BYTES >> 24):
                    member.write(bytes(1 << 24))
        case "depth.png":
            path.write_bytes(png_bytes(HUGE, HUGE))
        case "depth.pgm":
            path.write_bytes(b"P5\n%d %d\n65535\n" % (HUGE, HUGE) + bytes(64))
        case "depth.tiff":
            whole = cv2.imencode(".tiff", np.zeros((8, 9), np.uint16))[1].tobytes()
            for side in (8, 9):  # ImageLength 257 and ImageWidth 256, short or long
                for kind, form in ((3, "<H2x"), (4, "<I")):
                    tag = struct.pack("<HHI", 256 + (side == 8), kind, 1)
                    long = struct.pack("<HHII", 256 + (side == 8), 4, 1, HUGE)
                    whole = whole.replace(tag + struct.pack(form, side), long)
            path.write_bytes(whole)
        case "depth.h5" | "events.h5":
            with h5py.File(path, "w") as file:
                if path.name == "depth.h5":
                    file.create_dataset("depth", (HUGE, HUGE), "f4", chunks=(64, 64))
                for name in "xytp" if path.name == "events.h5" else ():
                    file.create_dataset(f"events/{name}", (HUGE * HUGE,), "i8", chunks=(64,))
        case "garbage.las":
            head = bytearray(375)
            head[:4], head[24:26] = b"LASF", b"\x01\x02"
            struct.pack_into("<HIIBHI", head, 94, 227, 227, 1_069_128_089, 0, 20, 1)
            path.write_bytes(bytes(head))
        case "points.las":
            head = bytearray(375)
            head[:4], head[24:26] = b"LASF", b"\x01\x02"
            struct.pack_into("<HIIBHI", head, 94, 227, 227, 0, 0, 20, 1 << 31)
            path.write_bytes(bytes(head))
    return path


BOMBS = (
    "depth.npy",
    "depth.npz",
    "events.npz",
    "zeros.npz",
    "depth.png",
    "depth.pgm",
    "depth.tiff",
    "depth.h5",
    "events.h5",
    "garbage.las",
    "points.las",
)


@pytest.mark.parametrize("name", BOMBS)
def test_declared_sizes_are_compared_with_the_file(armseg, tmp_path: Path, name: str) -> None:
    if name.endswith(".las"):
        pytest.importorskip("laspy")
    sensor = "event" if name.startswith("events") else "lidar" if name.endswith(".las") else "depth"
    done = armseg("convert", bomb(tmp_path / name), "--modality", sensor)
    assert_refused(done, name, "expected")


def test_a_mcap_chunk_that_unpacks_to_a_terabyte(tmp_path: Path) -> None:
    from armseg_core.errors import FormatError
    from armseg_core.sensors.event.readers.bag_chunks import check_chunks

    def record(operation: int, content: bytes) -> bytes:
        return struct.pack("<BQ", operation, len(content)) + content

    magic = b"\x89MCAP0\r\n"
    chunk = struct.pack("<QQQI", 0, 1, 1 << 40, 0) + struct.pack("<I4sQ", 4, b"zstd", 100) + bytes(100)
    path = tmp_path / "a.mcap"
    path.write_bytes(magic + record(1, bytes(8)) + record(6, chunk) + magic)
    with pytest.raises(FormatError, match="a chunk of messages would be 1,024 GiB"):
        check_chunks(path)
    path.write_bytes(magic + struct.pack("<BQ", 6, 1 << 50) + bytes(100) + magic)
    with pytest.raises(FormatError, match="the record at byte 8 of the bag"):
        check_chunks(path)


# --- data of other files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["external link", "external storage", "virtual data set"])
@pytest.mark.parametrize("suffix", [".h5", ".mat"])
def test_data_of_another_file_are_not_read(armseg, tmp_path: Path, how: str, suffix: str) -> None:
    other, path = tmp_path / "secret", tmp_path / f"depth{suffix}"
    with h5py.File(path, "w") as file:
        if how == "external storage":
            other.write_bytes(bytes(1024))
            file.create_dataset("depth", (16, 16), "f4", external=[(str(other), 0, 1024)])
        else:
            with h5py.File(other, "w") as secret:
                secret["depth"] = np.ones((16, 16), np.float32)
            if how == "external link":
                file["depth"] = h5py.ExternalLink(str(other), "depth")
            else:
                layout = h5py.VirtualLayout((16, 16), "f4")
                layout[:] = h5py.VirtualSource(str(other), "depth", (16, 16))
                file.create_virtual_dataset("depth", layout)
    for command in ("convert", "inspect", "visualize"):
        assert_refused(armseg(command, path, "--modality", "depth"), f"from another file: the {how}")
    assert not list(tmp_path.glob("*.metric.h5"))


# --- damage that libraries report in their own ways ------------------------------------------------------


def damaged_jpeg(path: Path) -> Path:
    rng = np.random.default_rng(0)
    data = bytearray(cv2.imencode(".jpg", cv2.blur(rng.integers(0, 255, (64, 64, 3), np.uint8), (9, 9)))[1])
    middle = len(data) // 2
    path.write_bytes(data[:middle] + b"\xff\xd8\xff\xd9" + data[middle:])
    return path


@pytest.mark.parametrize("kind", ["png checksum", "png end", "tiff end", "jpeg"])
def test_decoders_say_nothing_on_stderr_themselves(
    armseg, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if kind == "jpeg":
        path = damaged_jpeg(tmp_path / "thermal.jpg")
    else:
        path = raw_files.thermal(tmp_path / "thermal.tiff")
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        data = bytearray(cv2.imencode(".tiff" if "tiff" in kind else ".png", image)[1])
        if kind == "png checksum":
            data[len(data) // 2] ^= 255
        path = tmp_path / ("thermal.tiff" if "tiff" in kind else "thermal.png")
        path.write_bytes(data if kind == "png checksum" else data[: len(data) // 2] + data[-30:])
    done = armseg("convert", path, "--modality", "thermal")
    text = capfd.readouterr().err
    assert not text, text
    assert done.exit_code == 2 or "damaged" in done.stdout or "wrong" in done.stdout, done.output
    if done.exit_code:
        assert_refused(done)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": [-4, 6]}, "'size'"),
        ({"size": [float("inf"), 6]}, "infinity"),
        ({"size": [10**6, 10**6]}, "'size'"),
        ({"size": "big"}, "'size'"),
        ({"intrinsics": [[float("nan")] * 3] * 3}, "NaN"),
        ({"intrinsics": {"fx": 1}}, "'intrinsics'"),
        (None, "nested too deeply"),
        ([], "'intrinsics'"),
    ],
)
def test_a_calibration_that_is_none(armseg, tmp_path: Path, change, words: str) -> None:
    cloud = raw_files.lidar(tmp_path / "lidar.bin")
    calibration = write_calibration(tmp_path / "calib.json", **(change or {}))
    if change is None:
        calibration.write_text("[" * 100_000)
    elif change == []:
        calibration.write_text("[]")
    assert_refused(armseg("convert", cloud), "calib.json", words)


# --- texts -----------------------------------------------------------------------------------------------


def test_dataset_toml_nested_deeply(armseg, tmp_path: Path, sample_data: Path) -> None:
    shutil.copytree(sample_data, tmp_path / "data")
    text = tmp_path / "data" / "dataset.toml"
    text.write_text(text.read_text() + "\nx = " + "[" * 5000 + "]" * 5000)
    done = armseg("check", tmp_path / "data")
    assert "nested too deeply" in done.output
    assert "internal error" not in done.output


@pytest.mark.parametrize("place", ["/etc/hostname", "../../secret.json"])
def test_an_option_of_dataset_toml_stays_inside(
    armseg, tmp_path: Path, sample_data: Path, place: str
) -> None:
    shutil.copytree(sample_data, tmp_path / "data")
    text = tmp_path / "data" / "dataset.toml"
    table = "[modalities.lidar]"
    assert table in text.read_text()
    options = f"{table}\noptions = {{ calibration = {json.dumps(place)} }}"
    text.write_text(text.read_text().replace(table, options))
    done = armseg("check", tmp_path / "data")
    assert "inside the data set's folder" in done.output, done.output
