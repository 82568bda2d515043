"""What is written under another name: left by killed processes, replaced, appended."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

from armseg_core.errors import OutputError
from armseg_core.files import atomic
from armseg_core.files.atomic import (
    append_whole,
    atomic_folder,
    atomic_path,
    recover_folder,
    remove_leftovers,
)
from armseg_core.files.locks import lock_file

HEAD = "import os\nfrom pathlib import Path\nfrom armseg_core.files import atomic, locks\n"


def die_in(code: str, folder: Path) -> None:
    """Run code in a process that ends itself without any cleaning up."""
    done = subprocess.run([sys.executable, "-c", HEAD + code], cwd=folder, env=environment(), check=False)
    assert done.returncode == 9


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(autouse=True)
def _first_look() -> None:
    atomic._left_at_start.cache_clear()


LEAVE = """
with atomic.atomic_path('a.h5') as a, atomic.atomic_path('b.h5'), atomic.atomic_folder('best') as best:
    (best / 'file').write_text('half')
    a.write_text('half')
    os._exit(9)
"""


def test_what_a_killed_process_left_goes_when_its_name_is_written_again(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    die_in(LEAVE, tmp_path)
    assert len(names(tmp_path)) == 3
    mine = {".a.h5.notes.tmp", ".a.h5.12345678.tmp~", "a.h5.abcd1234.tmp", ".a.h5.abcd1234.bak"}
    for name in mine:
        (tmp_path / name).write_text("of the user")
    with atomic_path(tmp_path / "a.h5") as path:
        path.write_text("whole")
    with atomic_folder(tmp_path / "best") as folder:
        (folder / "file").write_text("whole")
    left = {name for name in names(tmp_path) if name.startswith(".b.h5.")}
    assert len(left) == 1
    assert names(tmp_path) == mine | left | {"a.h5", "best"}
    remove_leftovers(tmp_path, "b.h5".__eq__)
    assert names(tmp_path) == mine | {"a.h5", "best"}


def test_what_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.h5") as path, atomic_folder(tmp_path / "best") as folder:
        remove_leftovers(tmp_path, lambda name: True)
        with atomic_path(tmp_path / "a.h5") as other:
            other.write_text("another writer")
        path.write_text("whole")
        (folder / "file").write_text("whole")
    assert (tmp_path / "a.h5").read_text() == "whole"
    assert (tmp_path / "best" / "file").read_text() == "whole"
    assert names(tmp_path) == {"a.h5", "best"}


def test_a_folder_of_others_that_looks_like_a_leftover_stays(tmp_path: Path) -> None:
    folder = tmp_path / ".best.abcd1234.tmp"
    folder.mkdir()
    (folder / "notes.txt").write_text("of the user")
    remove_leftovers(tmp_path, lambda name: True)
    assert (folder / "notes.txt").is_file()


def test_a_file_that_is_taken_for_a_leftover_before_it_is_claimed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    real, made = atomic._new_file, []

    def make(target: Path) -> Path:
        made.append(real(target))
        if len(made) == 1:
            remove_leftovers(tmp_path, lambda name: True)
        return made[-1]

    monkeypatch.setattr(atomic, "_new_file", make)
    with atomic_path(tmp_path / "a") as path:
        path.write_text("whole")
    assert len(made) == 2
    assert names(tmp_path) == {"a"}


DIE_BETWEEN_RENAMES = """
atomic._exchange = lambda one, other: False
rename, done = os.replace, []
def replace(*names):
    if done: os._exit(9)
    done.append(rename(*names))
os.replace = replace
with atomic.atomic_folder('best') as best:
    (best / 'file').write_text('new')
"""


@pytest.mark.parametrize("again", ["read", "written"])
def test_a_replacement_killed_between_its_renames_is_finished(tmp_path: Path, again: str) -> None:
    pytest.importorskip("fcntl")
    best = tmp_path / "best"
    best.mkdir()
    (best / "file").write_text("old")
    die_in(DIE_BETWEEN_RENAMES, tmp_path)
    assert not best.exists()
    if again == "read":
        recover_folder(best)
    else:
        with contextlib.suppress(RuntimeError), atomic_folder(best):
            assert (best / "file").read_text() == "new"
            raise RuntimeError
    assert (best / "file").read_text() == "new"
    assert names(tmp_path) == {"best"}


def test_a_folder_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("first", "second"):
        if text == "second":
            (tmp_path / "one").mkdir()
            (tmp_path / "other").mkdir()
            if not atomic._exchange(tmp_path / "one", tmp_path / "other"):
                pytest.skip("this system cannot exchange two names")
            monkeypatch.setattr(os, "replace", None)  # not called: there is no moment without the folder
        with atomic_folder(tmp_path / "best") as folder:
            (folder / "file").write_text(text)
        assert (tmp_path / "best" / "file").read_text() == text
    assert names(tmp_path) == {"best", "one", "other"}


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_replacement_that_stops_between_its_renames_leaves_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with atomic_folder(tmp_path / "best") as folder:
        (folder / "file").write_text("old")
    rename, calls = os.replace, []

    def replace(*paths: Path) -> None:
        calls.append(paths)
        if len(calls) == 2:
            raise error
        rename(*paths)

    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises((OutputError, KeyboardInterrupt)), atomic_folder(tmp_path / "best") as folder:
        (folder / "file").write_text("new")
    whole = "old" if isinstance(error, OSError) else "new"
    assert (tmp_path / "best" / "file").read_text() == whole
    assert names(tmp_path) == {"best"}


def test_a_line_is_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    append_whole(path, "first\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"log\.txt: cannot write: File too large"):
            append_whole(path, "second\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "first\n"


def test_a_lock_file_keeps_others_out_and_goes_away(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / ".lock"
    with lock_file(path, "busy", "wait") as locked:
        assert locked
        with (
            pytest.raises(OutputError, match=f"{tmp_path}: busy. Try: wait"),
            lock_file(path, "busy", "wait"),
        ):
            pass
        assert path.is_file()
    assert names(tmp_path) == set()
    die_in("with locks.lock_file(Path('.lock'), '', ''): os._exit(9)", tmp_path)
    assert names(tmp_path) == {".lock"}
    with lock_file(path, "busy", "wait"):
        pass
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"nothing: cannot write here"),
        lock_file(tmp_path / "nothing" / ".lock", "busy", "wait"),
    ):
        pass
