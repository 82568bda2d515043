"""Plug-ins: what other installed packages offer to armseg through entry points.

A package names an object in its pyproject.toml, under a group that armseg looks up:

    [project.entry-points."armseg.sensors"]
    sonar = "armseg_sonar:SENSOR"
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import metadata
from typing import Any


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
