"""Files and folders that appear whole or not at all: written under another name, then renamed.

The other name is `.NAME.xxxxxxxx.tmp`, beside the place of NAME. It is locked as long as its writer lives, so
what a killed process left can be told from what is being written, and is removed when NAME is written again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from armseg_core.errors import OutputError
from armseg_core.files.locks import abandoned, claimed

_OLD = "old"  # name of a replaced folder in the scratch folder, where it cannot be replaced in one step
_UNFINISHED = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.tmp", re.DOTALL)  # 8: what tempfile draws


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    target = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            temporary = _unfinished(target, stack, _new_file)
        except OSError as error:
            raise OutputError(
                f"cannot write here: {error.strerror}", where=target, hint="another folder with -o/--output"
            ) from error
        try:
            yield temporary
            # mkstemp makes a private file (0600); this is what open() would have made
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, target)
        except IsADirectoryError as error:
            raise OutputError("a folder of that name is in the way", where=target) from error
        except OSError as error:
            if error.errno is not None and not isinstance(error, FileNotFoundError):
                raise OutputError(f"cannot write: {error.strerror or error}", where=target) from error
            raise
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A scratch folder that becomes `folder` (replacing an older one) when the block ends well.

    There is a whole `folder` at every moment where the system can exchange two names in one step. Elsewhere a
    process that is killed between two renames leaves none: `recover_folder` brings back the new one.

    Raises:
        OutputError: the parent folder cannot be created or written.
    """
    target = Path(folder)
    with contextlib.ExitStack() as stack:
        try:
            scratch = _unfinished(target, stack, _new_folder)
        except OSError as error:
            raise OutputError(f"cannot write here: {error.strerror}", where=target) from error
        try:
            new = scratch / target.name
            new.mkdir()
            yield new
            _put_in_place(new, target)
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror or error}", where=target) from error
        finally:
            _finish_replacement(scratch, target)  # Ctrl-C may come between two renames
            shutil.rmtree(scratch, ignore_errors=True)


def append_whole(path: str | os.PathLike[str], text: str) -> None:
    """Add text to the end of a file, all of it or nothing, and hand it to the operating system at once.

    Raises:
        OutputError: it cannot be written; the file is as it was.
    """
    data = text.encode()
    try:
        with open(path, "ab", buffering=0) as file:
            before = os.fstat(file.fileno()).st_size
            try:
                written = file.write(data)
                while written < len(data):  # a disk that is nearly full takes a part
                    written += file.write(data[written:])
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=path) from error


def remove_leftovers(folder: Path, ours: Callable[[str], bool]) -> None:
    """Remove the unfinished files and folders of processes that have ended; finish what only a rename missed.

    Args:
        folder: where they are looked for; it need not exist.
        ours: whether armseg writes a file or folder of that (final) name there.
    """
    for name, paths in _unfinished_in(folder).items():
        if ours(name):
            for path in paths:
                _remove_abandoned(path, folder / name)


def recover_folder(folder: Path) -> None:
    """Bring back a folder that is missing because the process that replaced it was killed in between."""
    if not folder.exists() and folder.name:
        remove_leftovers(folder.parent, folder.name.__eq__)


# -- unfinished files and folders


def _unfinished(target: Path, stack: contextlib.ExitStack, make: Callable[[Path], Path]) -> Path:
    """A new unfinished file or folder for `target`, claimed until the stack is closed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in _left_at_start(target.parent.absolute()).pop(target.name, []):
        _remove_abandoned(left, target)
    while True:
        path = make(target)
        with contextlib.ExitStack() as attempt:
            if attempt.enter_context(claimed(path)):
                stack.push(attempt.pop_all())
                return path


def _new_file(target: Path) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(descriptor)
    return Path(name)


def _new_folder(target: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))


@lru_cache(maxsize=64)
def _left_at_start(folder: Path) -> dict[str, list[Path]]:
    """What was unfinished in a folder when this process first wrote there.

    A folder of many thousand files is not listed again for each of them.
    """
    return _unfinished_in(folder)


def _unfinished_in(folder: Path) -> dict[str, list[Path]]:
    """Final name -> unfinished files and folders of that name."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _UNFINISHED.fullmatch(entry.name)
            if match and (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
                found.setdefault(match["name"], []).append(folder / entry.name)
    return found


def _remove_abandoned(path: Path, target: Path) -> None:
    """Remove an unfinished file or folder of `target` if its writer has ended; errors leave it in place."""
    with abandoned(path) as dead, contextlib.suppress(OSError):
        if dead and not path.is_dir():
            path.unlink(missing_ok=True)
        elif dead and {entry.name for entry in path.iterdir()} <= {target.name, _OLD}:
            _finish_replacement(path, target)
            shutil.rmtree(path, ignore_errors=True)


# -- replacing folders


def _put_in_place(new: Path, target: Path) -> None:
    """Rename `new`, a folder in the scratch folder, to `target`, which it replaces."""
    if not target.exists():
        os.replace(new, target)
    elif not _exchange(new, target):
        old = new.with_name(_OLD)
        os.replace(target, old)
        try:
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
        except OSError:
            os.replace(old, target)
            raise


def _finish_replacement(scratch: Path, target: Path) -> None:
    """Do the second rename of `_put_in_place` where it is missing: the new folder was whole by then."""
    new = scratch / target.name
    if (scratch / _OLD).exists() and new.exists() and not target.exists():
        os.replace(new, target)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system (not Linux) or the file system cannot."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of <fcntl.h> and <stdio.h>
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
