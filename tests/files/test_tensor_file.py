"""The sensor-tensor file: written whole or not at all, and readable by plain h5py."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from places import REPOSITORY

from armseg_core.errors import FormatError, InputError, OutputError
from armseg_core.files import deflate
from armseg_core.files.hashing import sha256_of
from armseg_core.files.tensor_file import (
    DTYPES,
    SensorTensor,
    TensorFile,
    TensorInfo,
    TensorWriter,
    is_tensor_file,
)

INFO = TensorInfo("event", "voxel_grid", ("a", "b"), ("", ""), (-1.0, 1.0), {"bins": 2}, "x.h5", "00ff")


def frames(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 2, 8, 12)).astype(np.float16)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    SensorTensor(frames(), np.array([5, 6, 1 << 40]), INFO).save(tmp_path / "x.h5")
    with TensorFile(tmp_path / "x.h5") as file:
        whole = file.read()
        np.testing.assert_array_equal(file.frame(-1), frames()[2])
        with pytest.raises(IndexError):
            file.frame(3)
    np.testing.assert_array_equal(whole.frames, frames())
    assert whole.t_us.tolist() == [5, 6, 1 << 40]
    assert (whole.info.channels, whole.info.parameters, whole.info.source_hash) == (
        ("a", "b"),
        {"bins": 2},
        "sha256",
    )
    with h5py.File(tmp_path / "x.h5") as f:
        assert f["frames"].chunks == (1, 2, 8, 12)
        assert f.attrs["modality"] == "event"
    assert names(tmp_path) == ["x.h5"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_appears_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with TensorWriter(tmp_path / "x.h5", INFO, (8, 12)) as writer:
            writer.append(frames()[0], 1)
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


def test_nothing_appears_when_the_file_cannot_be_begun(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(TensorWriter, "_new_frames", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError), TensorWriter(tmp_path / "x.h5", INFO, (8, 12)):
        pass
    assert names(tmp_path) == []


def test_a_frame_of_another_shape(tmp_path: Path) -> None:
    with (
        pytest.raises(FormatError, match="frame 0 has shape"),
        TensorWriter(tmp_path / "x.h5", INFO, (8, 12)) as w,
    ):
        w.append(np.zeros((2, 8, 13)), 0)
    assert names(tmp_path) == []


FULL_DISK = """
import resource, signal, sys
import numpy as np
from armseg_core.errors import OutputError
from armseg_core.files.tensor_file import TensorInfo, TensorWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
noise = np.random.default_rng(0).integers(0, 255, (2, 64, 96)).astype(np.uint8)
try:
    info = TensorInfo("event", "x", ("a", "b"), ("", ""), (0, 1))
    with TensorWriter(sys.argv[1], info, (64, 96), "uint8") as w:
        for i in range(20):
            w.append(noise, i)
except OutputError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("limit", [0, 500, 3000, 20_000, 100_000, 246_000, 248_000])
def test_a_full_disk_is_an_error_and_not_a_crash(tmp_path: Path, limit: int) -> None:
    """HDF5 crashes a process that cannot write its last bytes. Limits from the first byte to the last."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "x.h5"), str(limit)],
        text=True,
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "x.h5: cannot write: file too large" in done.stdout
    assert names(tmp_path) == []


def test_a_folder_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "x.h5").mkdir()
    with pytest.raises(OutputError), TensorWriter(tmp_path / "x.h5", INFO, (8, 12)) as writer:
        writer.append(frames()[0], 0)


def test_files_that_are_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(InputError, match="no such file"):
        TensorFile(path)
    SensorTensor(frames(), np.arange(3), INFO).save(path)
    whole = path.read_bytes()
    for damage in (whole[:-1000], whole[:100], b"", b"text"):
        path.write_bytes(damage)
        with pytest.raises(FormatError):
            TensorFile(path)
        assert not is_tensor_file(path)
    path.write_bytes(whole)
    with h5py.File(path, "r+") as f:
        del f.attrs["complete"]
    with pytest.raises(FormatError, match="not a sensor-tensor file"):
        TensorFile(path)
    with h5py.File(path, "r+") as f:
        f.attrs["complete"], f.attrs["format_version"] = True, 99
    with pytest.raises(FormatError, match="newer armseg"):
        TensorFile(path)


def test_the_hash_of_a_folder_counts_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1")
    first = sha256_of(tmp_path / "d")
    (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
    second = sha256_of(tmp_path / "d")
    (tmp_path / "d" / "b").write_text("2")
    assert len({first, second, sha256_of(tmp_path / "d")}) == 3


PLAIN = """
import sys
sys.modules["hdf5plugin"] = None  # an import of it fails
import h5py, numpy
with h5py.File(sys.argv[1]) as file:
    numpy.save(sys.argv[2], file["frames"][0])
"""


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_frames_are_read_by_h5py_alone(tmp_path: Path, dtype: str) -> None:
    """Of noise, of zeros and of both: each is compressed in its own way."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 200, (2, 2, 300, 500)).astype(np.float32)
    made[0, 0] = 0
    made[0, 1, :100] = rng.standard_normal((100, 500)) if dtype.startswith("float") else 7
    SensorTensor(made.astype(dtype), np.array([5, 6]), INFO).save(tmp_path / "x.h5")
    run = [sys.executable, "-c", PLAIN, tmp_path / "x.h5", tmp_path / "x.npy"]
    subprocess.run(run, check=True, env=os.environ | {"HDF5_PLUGIN_PATH": str(tmp_path)})
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), made[0].astype(dtype))
    with TensorFile(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file.read().frames, made.astype(dtype))


def test_blosc_is_written_when_asked_for_and_files_that_have_it_are_read(tmp_path: Path) -> None:
    SensorTensor(frames(), np.arange(3), INFO).save(tmp_path / "x.h5", "blosc")
    with h5py.File(tmp_path / "x.h5") as file:
        assert list(file["frames"]._filters) == ["32001"]
    with TensorFile(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file.read().frames, frames())


def test_a_frame_may_change_after_it_was_appended(tmp_path: Path) -> None:
    frame = np.ones((2, 8, 12), np.uint8)
    with TensorWriter(tmp_path / "x.h5", INFO, (8, 12), "uint8") as writer:
        for i in range(50):
            frame[:] = i
            writer.append(frame, i)
    with TensorFile(tmp_path / "x.h5") as file:
        assert file.frames[:, 0, 0, 0].tolist() == list(range(50))


def test_dense_floats_get_smaller_and_sparse_ones_much() -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((5, 240, 320)).astype(np.float16)
    sparse = np.where(rng.random(dense.shape) < 0.02, dense, np.float16(0))
    with ThreadPoolExecutor(2) as pool:
        sizes = [len(deflate.finish(deflate.start(frame, pool))) / frame.nbytes for frame in (dense, sparse)]
    assert sizes[0] < 0.9
    assert sizes[1] < 0.1
