"""Plug-ins: what other installed packages offer to armseg through entry points.

A package names an object in its pyproject.toml, under a group that armseg looks up:

    [project.entry-points."armseg.sensors"]
    sonar = "armseg_sonar:SENSOR"
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

from armseg_core.errors import ArmsegWarning


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name and group, the package and version it comes from, and the object it loads.

    problem: why it cannot be used, "" when it can.
    """

    group: str
    name: str
    package: str
    version: str
    value: Any = None
    problem: str = ""

    @property
    def origin(self) -> str:
        """'armseg-sonar 1.0', for messages."""
        return f"{self.package} {self.version}".strip()


def join_plugins(group: str, what: str, join: Callable[[tuple[Any, ...]], str]) -> tuple[Plugin, ...]:
    """Offer what every plug-in of a group loads to a table; one warning for each that is left out.

    Args:
        what: the kind of plug-in, for the warning: "sensor".
        join: takes the loaded objects (one, or those of a tuple) into the table and returns "", or says why
            it cannot. What it raises is a reason too: objects of another package may do anything.

    Returns:
        Every plug-in, with the `problem` of each that is left out.
    """
    joined = []
    for plugin in load_plugins(group):
        problem = plugin.problem
        if not problem:
            try:
                problem = join(plugin.value if isinstance(plugin.value, tuple) else (plugin.value,))
            except Exception as error:
                problem = f"its row cannot be read ({type(error).__name__}: {error})"
        if problem:
            text = f"the {what} plug-in '{plugin.name}' of {plugin.origin} is left out: {problem}"
            warnings.warn(text, ArmsegWarning, stacklevel=3)
        joined.append(replace(plugin, problem=problem))
    return tuple(joined)


@functools.cache
def load_plugins(group: str) -> tuple[Plugin, ...]:
    """Every installed entry point of a group, loaded once, sorted by package and name.

    An entry point that cannot be loaded is among them, with its `problem`; nothing is raised or warned of.
    """
    return tuple(
        sorted(
            (_load(entry) for entry in metadata.entry_points(group=group)),
            key=lambda plugin: (plugin.package, plugin.name),
        )
    )


def _load(entry: metadata.EntryPoint) -> Plugin:
    package, version = (entry.dist.name, entry.dist.version) if entry.dist else (entry.module, "")
    try:
        return Plugin(entry.group, entry.name, package, version, entry.load())
    except Exception as error:  # the code of another package may fail in any way
        problem = " ".join(f"{entry.value} cannot be loaded ({type(error).__name__}: {error})".split())
        return Plugin(entry.group, entry.name, package, version, problem=problem)
