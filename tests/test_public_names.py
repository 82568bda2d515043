"""What `import armseg_core` offers: the names load, are listed, and have types for checkers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import armseg_core


@pytest.mark.parametrize("name", armseg_core.__all__)
def test_every_public_name_loads_and_is_listed(name: str) -> None:
    assert getattr(armseg_core, name) is not None
    assert name in dir(armseg_core)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Recorder'"):
        _ = armseg_core.Recorder


def test_type_checkers_see_the_names_where_they_are_loaded_from() -> None:
    tree = ast.parse(Path(armseg_core.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {node.names[0].asname: node.module for node in block.body if isinstance(node, ast.ImportFrom)}
    assert seen == {name: f"armseg_core.{place}" for name, place in armseg_core._LAZY.items()}
