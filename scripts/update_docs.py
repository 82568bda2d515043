"""Fill the generated parts of README.md and docs/ from the code: `python scripts/update_docs.py`.

A generated part stands between `<!-- generated: NAME -->` and `<!-- /generated -->`; BLOCKS has its maker. Sensors
and data sets of other packages are left out, so the pages are the same whatever is installed.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.metadata
import inspect
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/README.md", "docs/cli.md", "docs/formats.md", "docs/api.md", "docs/datasets.md")
WIDTH = 110  # columns of the help texts and the signatures


def without_plugins() -> None:
    """Hide the entry points of other packages; must come before the first import of armseg_core."""
    found = importlib.metadata.entry_points

    def hidden(**selection: Any) -> Any:
        if str(selection.get("group", "")).startswith("armseg."):
            return importlib.metadata.EntryPoints()
        return found(**selection)

    importlib.metadata.entry_points = hidden


# -- tables


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table; `|` in a cell is escaped."""
    lines = [header, ("---",) * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def cells(place: str, field: FieldInfo) -> tuple[str, str, str, str]:
    """The line of an option or key: its name, what its value looks like, the default, the meaning."""
    from armseg_cli.settings import default_of, kind_of

    default = default_of(field)
    shown = "required" if field.is_required() else f"`{default}`" if default else ""
    return f"`{place}`", f"`{kind_of(field)}`", shown, field.description or ""


# -- the makers


def formats() -> str:
    from armseg_core.sensors.recognition import format_table

    return format_table()


def format_list() -> str:
    """One line per sensor: what it reads."""
    from armseg_core.sensors import SENSORS

    lines = []
    for sensor in SENSORS.values():
        titles = [reader.title for reader in sensor.readers if not reader.refuse]
        lines.append(f"- **{sensor.title}**: {'; '.join(titles)}\n")
    return "".join(lines)


def commands() -> str:
    """`--help` of armseg and of every command."""
    from typer.testing import CliRunner

    from armseg_cli.main import COMMANDS, app

    os.environ.update(COLUMNS=str(WIDTH), TERM="dumb")
    parts = []
    for name in ("", *(row.name for row in COMMANDS)):
        shown = CliRunner().invoke(app, [*filter(None, [name]), "--help"], prog_name="armseg").stdout
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts.append(f"## {f'armseg {name}'.strip()}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def sensor_options() -> str:
    """A table of the options of every sensor."""
    from armseg_core.sensors import SENSORS

    parts = []
    for name, sensor in SENSORS.items():
        rows = [cells(key, field) for key, field in sensor.options.model_fields.items()]
        title = sensor.title[0].upper() + sensor.title[1:]
        parts.append(f"### {title} (`{name}`)\n\n" + table(("option", "value", "default", "meaning"), rows))
    return "\n".join(parts)


def training_options() -> str:
    """Every setting of a training."""
    from armseg_core.config.training import TrainConfig

    return table(("option", "value", "default", "meaning"), list(_settings(TrainConfig, "")))


def _settings(group: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in group.model_fields.items():
        inner = _table_in(field.annotation)
        if inner is None:
            yield cells(prefix + name, field)
        else:
            yield from _settings(inner, f"{prefix}{name}.")


def dataset_keys() -> str:
    """Every key of dataset.toml."""
    from armseg_core.data.dataset_file import DataSetFile

    return table(("key", "value", "default", "meaning"), list(_keys(DataSetFile, "")))


def _keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        inner, place = _table_in(field.annotation), prefix + name
        if inner is None:
            yield cells(place, field)
            continue
        origin = typing.get_origin(field.annotation)
        shown = {tuple: f"[[{place}]]", dict: f"[{place}.NAME]"}.get(origin, f"[{place}]")
        said = field.description or _summary(inner)
        kind = "tables" if origin in (tuple, dict) else "table"
        yield f"`{shown}`", kind, "required" if field.is_required() else "", said
        yield from _keys(inner, f"{place}.NAME." if origin is dict else f"{place}.")


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return annotation
    found = [_table_in(part) for part in typing.get_args(annotation)]
    return next((model for model in found if model is not None), None)


def public_datasets() -> str:
    """The data sets that are known by their published layout."""
    from armseg_core.data.public import PUBLIC

    rows = []
    for kind in PUBLIC:
        counts = ", ".join(f"{split} {count}" for split, count in kind.published.counts.items())
        sensors = ", ".join(kind.files.sensors)
        rows.append((kind.title, sensors, f"`{kind.layout}`", counts, kind.published.protocol))
    header = ("data set", "sensors", "recognized by", "samples", "how published figures are made")
    cited = "".join(f"- {kind.title}: {kind.published.citation}\n" for kind in PUBLIC)
    return f"{table(header, rows)}\n{cited}"


def _summary(thing: Any) -> str:
    """The first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def api() -> str:
    """The public names of armseg_core, as in a stub file."""
    import armseg_core

    parts = []
    for name in armseg_core.__all__:
        if not name.startswith("_"):
            thing = getattr(armseg_core, name)
            parts.append(f"## {name}\n\n{_place(name, thing)}\n\n```python\n{_stub(name, thing)}\n```\n")
    return "\n".join(parts)


def _place(name: str, thing: Any) -> str:
    import armseg_core

    module = getattr(thing, "__module__", None) or armseg_core._LAZY[name]
    return f"`from armseg_core import {name}` (defined in `{module}`)"


def _stub(name: str, thing: Any) -> str:
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        keys = ", ".join(repr(key) for key in thing)
        return f"{name}: dict[str, {type(next(iter(thing.values()))).__name__}]  # keys: {keys}"
    node = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return "\n".join(_class_lines(node) if isinstance(node, ast.ClassDef) else _function_lines(node))


def _class_lines(node: ast.ClassDef) -> list[str]:
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    lines = [f"@{ast.unparse(mark)}" for mark in node.decorator_list]
    lines += [f"class {node.name}({bases}):" if bases else f"class {node.name}:", *_docstring(node)]
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and not ast.unparse(item.target).startswith("_"):
            lines.append(f"    {ast.unparse(item)}")
        elif isinstance(item, ast.FunctionDef) and (item.name == "__init__" or not item.name.startswith("_")):
            if item.name == "__init__" and len(item.args.args) + len(item.args.kwonlyargs) == 1:
                continue
            lines += ["", *(f"    {line}".rstrip() for line in _function_lines(item))]
    return lines


def _function_lines(node: ast.FunctionDef) -> list[str]:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = _arguments(node.args)
    head = [f"def {node.name}({', '.join(arguments)}){returns}:"]
    if len(head[0]) > WIDTH - 10:
        head = [f"def {node.name}(", *(f"    {argument}," for argument in arguments), f"){returns}:"]
    body = _docstring(node)
    if not body:
        head[-1] += " ..."
    return [*(f"@{ast.unparse(mark)}" for mark in node.decorator_list), *head, *body]


def _arguments(arguments: ast.arguments) -> list[str]:
    """The parameters of a function, one text each."""
    given = [*arguments.posonlyargs, *arguments.args]
    defaults: list[Any] = [None] * (len(given) - len(arguments.defaults)) + arguments.defaults
    found = [_argument(*pair) for pair in zip(given, defaults, strict=True)]
    if arguments.vararg:
        found.append("*" + ast.unparse(arguments.vararg))
    elif arguments.kwonlyargs:
        found.append("*")
    found += [_argument(*pair) for pair in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return found + (["**" + ast.unparse(arguments.kwarg)] if arguments.kwarg else [])


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    sign = " = " if argument.annotation else "="
    return ast.unparse(argument) + (sign + ast.unparse(default) if default is not None else "")


def _docstring(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    text = ast.get_docstring(node)
    if not text:
        return []
    lines = f'"""{text}'.splitlines()
    lines = [f'{lines[0]}"""'] if len(lines) == 1 else [*lines, '"""']
    return [f"    {line}".rstrip() for line in lines]


BLOCKS: dict[str, Callable[[], str]] = {
    "format list": format_list,
    "formats": formats,
    "commands": commands,
    "sensor options": sensor_options,
    "training options": training_options,
    "dataset keys": dataset_keys,
    "public data sets": public_datasets,
    "api": api,
}
PART = re.compile(r"(<!-- generated: ([^>]*) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def filled(text: str) -> str:
    """A page with its generated parts made anew.

    Raises:
        KeyError: a part that BLOCKS does not know.
    """
    return PART.sub(lambda m: f"{m[1]}\n{BLOCKS[m[2]]()}\n{m[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--to", type=Path, default=REPOSITORY, help="folder the pages are written to")
    to = parser.parse_args().to
    without_plugins()
    sys.path.insert(0, str(REPOSITORY))  # this checkout, whatever is installed
    importlib.import_module("armseg_core")
    for page in PAGES:
        text = filled((REPOSITORY / page).read_text(encoding="utf-8"))
        (to / page).parent.mkdir(parents=True, exist_ok=True)
        (to / page).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
