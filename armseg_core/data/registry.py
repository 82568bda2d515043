"""The table of kinds of data set, and the two functions that describe and open any of them.

Another package adds kinds by the entry-point group `armseg.datasets`: each entry point names a subclass of
DataSet, or a tuple of them. In its pyproject.toml:

    [project.entry-points."armseg.datasets"]
    toy = "armseg_toy:ToyScenes"
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from armseg_core import advice
from armseg_core.data.dataset import DataSet
from armseg_core.data.dataset_file import FILE_NAME
from armseg_core.data.description import Description
from armseg_core.data.folder import FolderDataset
from armseg_core.data.public import PUBLIC
from armseg_core.errors import ArmsegWarning, DataSetError, InputError, UsageError
from armseg_core.plugins import join_plugins

GROUP = "armseg.datasets"
BUILT_IN: tuple[type[DataSet], ...] = (FolderDataset, *PUBLIC)  # tried in this order


def open_dataset(
    data: str | os.PathLike[str] | Description,
    split: str,
    modalities: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    cache_mb: float = 0,
    cache_dir: str | os.PathLike[str] | None = None,
) -> DataSet:
    """Open a split of any data set: a folder with dataset.toml, or another kind known by its layout.

    data: the folder, or its description where that is at hand. The other arguments as in `DataSet`.

    Raises:
        InputError: the folder does not exist.
        DataSetError: it is no data set; lists what was looked for.
        UsageError: an unknown split or sensor.
    """
    described = describe(data)
    return described.kind(described, split, modalities, size, cache_mb, cache_dir)


def describe(data: str | os.PathLike[str] | Description, kind: str | None = None) -> Description:
    """What a data set says about itself, without opening a split; a description is returned as it is.

    kind: title of the kind of data set to read the folder as, where more than one kind claims it.

    Raises:
        InputError: the folder does not exist.
        DataSetError: it is no data set, or more than one kind claims it.
        UsageError: there is no such kind.
    """
    return data if isinstance(data, Description) else dataset_class(data, kind).describe(data)


def dataset_class(root: str | os.PathLike[str], kind: str | None = None) -> type[DataSet]:
    """The class that reads a folder. Arguments and errors as in `describe`."""
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(
            "no such folder" if not folder.exists() else "not a folder",
            where=folder,
            expected="the folder of a data set",
        )
    titles = kind_titles()
    if kind is not None:
        named = [each for each in titles if each.title.casefold() == kind.casefold()]
        if not named:
            known = ", ".join(each.title for each in titles)
            raise UsageError(f"no kind of data set is called '{kind}'", expected=f"one of {known}")
        return named[0]
    found = matching_kinds(folder)
    if not found:
        raise _no_data_set(folder)
    if len(found) > 1:
        raise DataSetError(
            "more than one kind of data set claims the folder: " + "; ".join(titles[each] for each in found),
            where=folder,
            hint=f"describe(folder, kind='{found[0].title}') chooses one, or uninstall a plug-in",
        )
    return found[0]


# enough for a folder of data sets; one with more below it is something else, and asking takes a while
MOST_INSIDE = 100


def _no_data_set(folder: Path) -> DataSetError:
    """The error for a folder that no kind of data set claims; it names the data sets inside it."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    inside = [path for path in below[:MOST_INSIDE] if matching_kinds(path)]
    if inside:
        return DataSetError(
            f"not a data set; {', '.join(path.name for path in inside[:3])} in it "
            f"{'are' if len(inside) > 1 else 'is'}",
            where=folder,
            hint=advice.command("check", inside[0]),
        )
    others = ", ".join(each.title for each in kind_titles() if each is not FolderDataset)
    return DataSetError(
        "not a data set",
        where=folder,
        expected=f"a {FolderDataset.title} with {FILE_NAME}, or in its own layout one of {others}",
    )


def matching_kinds(folder: Path) -> list[type[DataSet]]:
    """The first built-in kind that a folder looks like, and every plugged-in one."""
    found = [kind for kind in BUILT_IN if kind.matches(folder)][:1]
    for kind, title in kind_titles().items():
        if kind in BUILT_IN:
            continue
        try:
            if kind.matches(folder):
                found.append(kind)
        except Exception as error:  # the code of another package may fail in any way
            why = " ".join(f"{type(error).__name__}: {error}".split())
            what = f"{title} cannot tell whether {folder} is its own: {why}"
            warnings.warn(ArmsegWarning(what), stacklevel=2)
    return found


@functools.cache
def kind_titles() -> dict[type[DataSet], str]:
    """Every kind of data set, built-in ones first -> its title and where it comes from, for messages.

    Read once per process. A plug-in that cannot be used is left out, with an ArmsegWarning: it must not stop
    what does without it.
    """
    titles = {kind: f"{kind.title} (built in)" for kind in BUILT_IN}
    joined: list[type[DataSet]] = []

    def join(given: tuple[Any, ...]) -> str:
        problem = _problem(given, {kind.title.casefold() for kind in (*titles, *joined)})
        joined.extend(() if problem else given)
        return problem

    for plugin in join_plugins(GROUP, "data set", join):
        if not plugin.problem:
            kinds = plugin.value if isinstance(plugin.value, tuple) else (plugin.value,)
            titles |= {kind: f"{kind.title} ({plugin.origin})" for kind in kinds}
    return titles


def _problem(given: tuple[object, ...], taken: set[str]) -> str:
    """Why what a plug-in names cannot be used, "" when it can. taken: titles in small letters."""
    for kind in given:
        if not (isinstance(kind, type) and issubclass(kind, DataSet)):
            return f"it loads {kind!r}, not a subclass of DataSet or a tuple of them"
        for name in ("title", "layout"):
            if not isinstance(getattr(kind, name, None), str):
                return f"{kind.__name__} has no {name}"
        if kind.title.casefold() in taken:
            return f"the title '{kind.title}' belongs to another kind of data set"
        taken = taken | {kind.title.casefold()}
    return ""
