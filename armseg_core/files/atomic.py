"""Files and folders that appear whole or not at all: written under another name, then renamed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from armseg_core.errors import OutputError


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well, and vanishes otherwise.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(fd)
    except OSError as error:
        raise OutputError(
            f"cannot write here: {error.strerror}", where=target, hint="another folder with -o/--output"
        ) from error
    temporary = Path(name)
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

    Raises:
        OutputError: the parent folder cannot be created or written.
    """
    target = Path(folder)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise OutputError(f"cannot write here: {error.strerror}", where=target) from error
    try:
        new = scratch / target.name
        new.mkdir()
        yield new
        old = scratch / "old"
        try:
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
        except BaseException:
            if old.exists() and not target.exists():
                os.replace(old, target)
            raise
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=target) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
