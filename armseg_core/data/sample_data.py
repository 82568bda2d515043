"""Where the sample scenes are: the repository's `sample_data/`, else the same scenes simulated into a cache.

The parameters below made the committed set; a test compares them with `sample_data/`.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from armseg_core import __version__
from armseg_core.errors import ArmsegWarning, OutputError
from armseg_core.files.atomic import atomic_folder


@dataclass(frozen=True)
class SampleScenes:
    """Arguments of `armseg simulate` that make the sample data. `size` is (H, W)."""

    scenes: int = 21
    seed: int = 16  # every class is in every split
    size: tuple[int, int] = (96, 128)
    light_field_views: int = 5  # keeps the set under 15 MB


SAMPLE_SCENES = SampleScenes()


def repository_sample_data() -> Path | None:
    """`sample_data/` of the source tree that this package lies in, or None when it is installed elsewhere."""
    root = Path(__file__).resolve().parents[2]
    folder = root / "sample_data"
    return folder if (root / "pyproject.toml").is_file() and (folder / "dataset.toml").is_file() else None


def cache_dir() -> Path:
    """armseg's folder for files that can be made again, by the rules of the platform."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin" and not os.environ.get("XDG_CACHE_HOME"):
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "armseg"


def cached_sample_data() -> Path | None:
    """The sample data in the cache, or None when it has not been made."""
    folder = _cache_folder()
    return folder if (folder / "dataset.toml").is_file() else None


def sample_data_dir() -> Path:
    """The folder data set of sample scenes; simulated into the cache where the repository's is not at hand.

    The cache entry appears under its name only when it is whole.

    Raises:
        OutputError: when the cache folder cannot be written.
    """
    return repository_sample_data() or cached_sample_data() or _simulate_into_cache()


def _cache_folder() -> Path:
    return cache_dir() / f"sample_data-{__version__}"


def _simulate_into_cache() -> Path:
    from armseg_core.simulate import simulate

    folder = _cache_folder()
    warnings.warn(
        ArmsegWarning(
            f"no sample_data folder at hand: simulating {SAMPLE_SCENES.scenes} scenes into {folder} (once)"
        ),
        stacklevel=3,
    )
    try:
        with atomic_folder(folder) as scratch:
            simulate(scratch, **asdict(SAMPLE_SCENES), progress=sys.stderr.isatty())
    except OutputError as error:
        raise OutputError(
            f"cannot make the cache folder ({error.what})",
            where=folder.parent,
            expected="a writable folder",
            hint="set XDG_CACHE_HOME to one",
        ) from error
    return folder
