"""Looking at a file once: the same bytes as the file has, seen anew after every change."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from picture_writer import png, tiff

from armseg_core.conversion.convert import guess_format, to_tensor
from armseg_core.errors import ArmsegWarning
from armseg_core.files import facts
from armseg_core.files.facts import HEAD, TAIL, facts_of, head_of
from armseg_core.files.image_headers import image_header
from armseg_core.files.npy import npy_header
from armseg_core.sensors.recognition import matching

_opened: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple) -> None:
    if _watching and event == "open" and isinstance(arguments[0], str | os.PathLike):
        _opened.append(os.path.abspath(arguments[0]))


sys.addaudithook(_watch)  # cannot be taken off again: it listens inside the fixture alone


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Paths of the files that Python opens in the test."""
    monkeypatch.setattr(facts, "_SETTLED_NS", 0)  # the files of a test are younger
    _opened.clear()
    monkeypatch.setattr(sys.modules[__name__], "_watching", True)
    yield _opened
    facts._kept.cache_clear()


def test_a_file_is_opened_once_for_all_content_tests(tmp_path: Path, opened: list[str]) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 60_000, (40, 60)).astype(np.uint16)
    files = [png(tmp_path / "depth.png", values), tiff(tmp_path / "thermal.tiff", values)]
    np.save(tmp_path / "depth.npy", values)
    rng.uniform(1, 2, (64, 4)).astype("<f4").tofile(tmp_path / "lidar.bin")
    for path in (*files, tmp_path / "depth.npy", tmp_path / "lidar.bin"):
        opened.clear()
        assert matching(path)
        assert opened.count(str(path)) == 1, path
        matching(path)
        assert opened.count(str(path)) == 1, path


def test_a_picture_is_opened_to_recognize_it_and_to_decode_it(tmp_path: Path, opened: list[str]) -> None:
    path = png(tmp_path / "depth.png", np.full((40, 60), 2000, np.uint16))
    opened.clear()  # of the writing
    assert guess_format(path)[0] == "depth"
    with pytest.warns(ArmsegWarning, match="depth taken as mm"):
        to_tensor(path, modality="depth")
    assert opened.count(str(path)) == 2


def test_a_changed_file_is_looked_at_again(tmp_path: Path, opened: list[str]) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((20, 30), np.float32))
    assert npy_header(path) == ((20, 30), np.float32)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    os.rename(path, tmp_path / "old.npy")  # another file of the same size and time
    np.save(path, np.zeros((30, 20), np.float32))
    os.utime(path, ns=times)
    assert npy_header(path) == ((30, 20), np.float32)


def test_a_file_that_may_still_change_is_not_kept(tmp_path: Path) -> None:
    """Two writes within a tick of the file system's clock leave the same size and times."""
    path = tmp_path / "a"
    for text in (b"one", b"two"):
        path.write_bytes(text)
        assert head_of(path) == text


@pytest.mark.parametrize("size", [0, 10, HEAD, HEAD + TAIL - 1, HEAD + TAIL + 5000])
def test_bytes_at_any_place(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(0).bytes(size)
    (tmp_path / "a").write_bytes(data)
    found = facts_of(tmp_path / "a")
    assert found.head == data[:HEAD]
    for offset in (0, 5, HEAD - 3, HEAD + 100, max(0, size - TAIL - 2), max(0, size - 7), size, size + 9):
        for count in (0, 4, 300, HEAD + TAIL + 6000):
            assert found.bytes_at(offset, count) == data[offset : offset + count], (offset, count)


def test_the_directory_of_a_tiff_may_stand_anywhere(tmp_path: Path) -> None:
    image = np.zeros((300, 500), np.uint16)  # larger than the head that is read
    header = image_header(tiff(tmp_path / "a.tiff", image))
    assert header is not None
    assert (header.size, header.bits) == ((300, 500), 16)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    assert facts_of(tmp_path).is_dir
    assert head_of(tmp_path) == b""
    with pytest.raises(FileNotFoundError):
        facts_of(tmp_path / "absent")
