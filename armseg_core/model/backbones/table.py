"""The table of staged encoders: BACKBONES, one row per kind; plug-ins after the built-in rows."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from typing import Any

from armseg_core.errors import UsageError
from armseg_core.model.backbones import hierarchical, lite0, mit, pyramid, small
from armseg_core.model.backbones.base import BackboneRow
from armseg_core.plugins import Plugin, join_plugins

PLUGINS = "armseg.backbones"  # group of entry points
# the first row that a name matches counts
BUILT_IN = (small.ROW, lite0.ROW, mit.ROW, pyramid.ROW, hierarchical.ROW)


@functools.cache
def _load() -> tuple[tuple[BackboneRow, ...], tuple[Plugin, ...]]:
    """The rows, and every plug-in with what became of it."""
    rows = list(BUILT_IN)

    def join(given: tuple[Any, ...]) -> str:
        problem = _problem(given, rows)
        rows.extend(() if problem else given)
        return problem

    plugins = join_plugins(PLUGINS, "backbone", join)
    return tuple(rows), plugins


def _problem(given: tuple[object, ...], rows: list[BackboneRow]) -> str:
    """Why the rows of a plug-in cannot join the others, "" when they can."""
    for row in given:
        if not isinstance(row, BackboneRow):
            return f"it loads {type(row).__name__}, not a BackboneRow or a tuple of them"
        if not row.examples or not all(row.matches(example) for example in row.examples):
            return f"backbone {row.name}: its examples do not match it"
        for example in row.examples:
            if taken := next((other for other in rows if other.matches(example)), None):
                return f"backbone {row.name}: the name '{example}' belongs to {taken.name}"
    return ""


def backbones() -> tuple[BackboneRow, ...]:
    """Every kind of staged encoder, plug-ins last. Read on first use."""
    return _load()[0]


def backbone_plugins() -> tuple[Plugin, ...]:
    """Every installed backbone plug-in, with the `problem` of each that is left out."""
    return _load()[1]


def find_backbone(name: str) -> BackboneRow:
    """The row of a backbone, by its name.

    Raises:
        UsageError: for an unknown name, with the nearest known ones.
    """
    for row in backbones():
        if row.matches(name):
            return row
    import timm

    examples = [example for row in backbones() for example in row.examples]
    known = dict.fromkeys([*examples, *timm.list_models()])
    near = difflib.get_close_matches(name.removeprefix(hierarchical.PREFIX), known, n=3, cutoff=0.6)
    raise UsageError(
        f"unknown backbone '{name}'",
        expected=", ".join(row.name for row in backbones()),
        hint="--backbone " + (near[0] if near else examples[0]),
    )


@dataclass(frozen=True)
class BackboneLine:
    """One example of the table, for lists: what to type, its kind, the license of its published weights."""

    name: str
    title: str
    license: str


def list_backbones() -> list[BackboneLine]:
    """The table as lines, one per example."""
    return [
        BackboneLine(example, row.title, row.license(example))
        for row in backbones()
        for example in row.examples
    ]
