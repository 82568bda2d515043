"""Every command and every flag that a message, a hint or a 'Next:' line tells the user to type exists.

The strings are found in the syntax trees of both packages, so that a new hint is tested without being listed.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from places import REPOSITORY

from armseg_cli.main import COMMANDS, app

GAP = "\0"  # what stands for the value of an f-string field, until it becomes VALUE
VALUE = "1"  # is a number, a text and a path
NAMES = tuple(row.name for row in COMMANDS)
# what may follow "armseg" in a sentence about the program itself
PROSE = {"does", "the", "is", "model", "builds"}
FOREIGN = {
    "--head": "ray start",
    "--array": "sbatch",
    "--force-reinstall": "pip install",
}  # flags of other programs

FORMER = {flag for row in COMMANDS for flag in row.former}  # typed, they name what replaced them

# Hints of these files are raised by these commands at least; those of other files may name any command's
# flags.
READING = "convert inspect visualize predict"
OWNERS = (
    (r"armseg_core/sensors/.*readers\.py", READING),
    (r"armseg_core/sensors/", "convert visualize"),  # only these make representations of one's choice
    (r"armseg_core/conversion/", "convert"),
    (r"armseg_core/files/tensor_file\.py", "convert"),
    (r"armseg_core/learning/(training|batches|run_folder|resume_state|clip_loading)\.py", "train"),
    (r"armseg_core/simulate/", "simulate"),
    (r"armseg_core/learning/evaluation\.py", "eval"),
    (r"armseg_core/learning/prediction\.py", "predict"),
    (r"armseg_core/demo\.py", "demo"),
    (r"armseg_cli/training_options\.py", "train"),
    (r"armseg_cli/evaluate\.py", "eval"),
    *((rf"armseg_cli/{name}\.py", name) for name in NAMES if name != "eval"),
)


@dataclass(frozen=True)
class Text:
    """A string in the code, with GAP for the fields of an f-string."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text.replace(GAP, '{}')}"


class Collector(ast.NodeVisitor):
    """Gathers the strings of a file; docstrings and other strings that stand alone are left out."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: list[Text] = []

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append(Text(self.file, node.lineno, node.value))

    def visit_Call(self, node: ast.Call) -> None:
        """`advice.command("check", path, *flags)` is "armseg check GAP"; how many flags there are is open."""
        if not is_command(node):
            self.generic_visit(node)
            return
        words = []
        for word in node.args:
            if isinstance(word, ast.Constant):
                words.append(str(word.value))
            elif not isinstance(word, ast.Starred):
                words.append(GAP)
        self.found.append(Text(self.file, node.lineno, " ".join(["armseg", *words])))

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = []
        for part in node.values:
            if isinstance(part, ast.Constant):
                parts.append(str(part.value))
            else:
                parts.append(GAP)
                self.visit(part)  # strings inside the field
        self.found.append(Text(self.file, node.lineno, "".join(parts)))


def is_command(node: ast.AST) -> bool:
    """Whether a node calls `advice.command`, which quotes what it is given."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "advice.command"


def files() -> list[Path]:
    return sorted(
        path for package in ("armseg_core", "armseg_cli") for path in (REPOSITORY / package).rglob("*.py")
    )


def texts() -> list[Text]:
    found = []
    for path in files():
        collector = Collector(path.relative_to(REPOSITORY).as_posix())
        collector.visit(ast.parse(path.read_text(encoding="utf-8")))
        found += collector.found
    return found


TEXTS = texts()


def named(text: Text) -> Iterator[tuple[str, str]]:
    """(command, what follows it) for every 'armseg COMMAND' of a string that is not prose."""
    for match in re.finditer(r"(?<![\w/.-])armseg ([a-z][\w-]*)", text.text):
        if match[1] not in PROSE:
            yield match[1], text.text[match.end() :]


def command(name: str) -> Any:
    """The command as the console script would run it."""
    group = typer.main.get_command(app)
    return group.get_command(group.make_context("armseg", [], resilient_parsing=True), name)  # type: ignore[attr-defined]


def flags_of(name: str) -> dict[str, bool]:
    """Every flag of a command, and whether a value follows it."""
    found = {"--help": False}
    for parameter in command(name).params:
        if parameter.param_type_name == "option":
            takes_value = not parameter.is_flag
            found |= dict.fromkeys((*parameter.opts, *parameter.secondary_opts), takes_value)
    return found


FLAGS = {name: flags_of(name) for name in NAMES}


def arguments(name: str, rest: str) -> list[str]:
    """The arguments after a command: up to the end of the quotation or clause, or to the first word of prose.

    Prose begins with a word in small letters that is not the value of a flag; what a user is to fill in
    stands in capitals, and examples of files have a suffix.
    """
    rest = re.split(r"[`;()]|,\s|,$|\.\s|\.$|:\s", rest, maxsplit=1)[0].replace(GAP, VALUE)
    given: list[str] = []
    for token in shlex.split(rest):
        is_value = bool(given) and FLAGS.get(name, {}).get(given[-1], False)
        if re.fullmatch(r"[a-z]+", token) and not is_value:
            break
        given.append(token)
    return given


def problem(name: str, rest: str) -> str | None:
    """Why the command line cannot be typed, or None. Nothing is run, and files need not exist."""
    if name not in NAMES:
        return "no such command"
    given = arguments(name, rest)
    if not given and rest.strip():
        return None  # the command is only named
    try:
        with command(name).make_context(name, given):
            return None
    except typer.TyperException as error:
        return error.format_message()


def test_the_commands_that_are_told_can_be_typed() -> None:
    wrong = [f"{text}: {why}" for text in TEXTS for name, rest in named(text) if (why := problem(name, rest))]
    assert wrong == []


def test_the_flags_that_are_told_exist_in_the_command_they_are_told_for() -> None:
    wrong, count = [], 0
    for text in TEXTS:
        owner = next((name for pattern, name in OWNERS if re.match(pattern, text.file)), None)
        for number, part in enumerate(re.split(r"(?<![\w/.-])armseg (?=[a-z])", text.text)):
            first = re.match(r"[a-z]+", part)
            name = first[0] if number and first and first[0] in NAMES else owner
            known = known_flags(name)
            told = told_flags(part)
            wrong += [f"{text}: {flag}" for flag in told if flag not in known and flag not in FOREIGN]
            count += len(told)
    assert wrong == []
    assert count >= 150


def known_flags(names: str | None) -> set[str]:
    """The flags that all of the commands have ('convert inspect'); None: the flags of any."""
    if names is None:
        return {flag for flags in FLAGS.values() for flag in flags} | {"--version"} | FORMER
    return set.intersection(*(set(FLAGS[name]) for name in names.split()))


def told_flags(text: str) -> list[str]:
    """The flags in a text; one whose name is made by an f-string is left out."""
    return re.findall(rf"(?<![\w-])--[a-z][a-z-]*+(?!{GAP}|\w)", text)


def pasted(tree: ast.AST) -> Iterator[ast.AST]:
    """Strings with "armseg COMMAND" into which a value is put without `advice.command`, so not quoted: by an
    f-string, by +, by % or by format."""
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.JoinedStr):
            parts = node.values
        elif isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        words = [part.value if isinstance(part, ast.Constant) else GAP for part in parts]
        for name, rest in named(Text("", 0, "".join(map(str, words)))):
            clause = re.split(r"[`;()]|,\s|\.\s|:\s", rest, maxsplit=1)[0]
            if name in NAMES and GAP in clause:
                yield node


def test_a_value_in_a_command_is_quoted() -> None:
    """A path with a blank would be two arguments."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files()}
    assert [f"{path}:{node.lineno}" for path, tree in trees.items() for node in pasted(tree)] == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('f"armseg check {path}"', True),
        ('f"say: armseg eval --model {path}"', True),
        ('"armseg check " + path', True),
        ('f"armseg check, then look at {path}"', False),
        ('advice.command("check", path)', False),
    ],
)
def test_what_is_not_quoted_is_found(code: str, found: bool) -> None:
    assert bool(list(pasted(ast.parse(code)))) is found


def test_nothing_is_overlooked() -> None:
    """An empty collection would pass every test here: a search in the plain text finds no more than it
    holds."""
    source = "".join(path.read_text(encoding="utf-8") for path in files())
    found = [text.text for text in TEXTS]
    for start, least in (("armseg ", 5), ("--", 30)):
        plain = re.findall(rf"""hint=f?["']({start}[^"'{{}}\\]*)""", source)
        assert len(plain) >= least
        assert [text for text in plain if not any(one.startswith(text) for one in found)] == []
    assert len(re.findall(r"""print_next\(\s*(["']armseg |advice\.command\()""", source)) >= 8
    made = source.count("advice.command(")
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files()]
    assert made >= 30
    assert made == sum(is_command(node) for tree in trees for node in ast.walk(tree))
    assert sum(1 for text in TEXTS for _ in named(text)) >= 55
    assert [flag for flag in FOREIGN if not any(flag in text for text in found)] == []


def test_a_command_is_never_made_by_an_f_string() -> None:
    """'armseg {verb} FILE' could not be tested; only the nearest real command of a typing error is such."""
    made = [str(text) for text in TEXTS if re.search(rf"(?<![\w/.-])armseg {GAP}", text.text)]
    assert [text for text in made if "armseg {}" not in text] == []
    assert sorted(text.split(":")[0] for text in made) == ["armseg_cli/group.py", "armseg_cli/main.py"]


def test_every_next_line_is_printed_in_one_place() -> None:
    assert {text.file for text in TEXTS if text.text.startswith("Next")} == {"armseg_cli/console.py"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("train --data DATA", "No such option: --data"),
        ("trian DATA", "no such command"),
        ("train --output", "requires an argument"),
        ("train --resume", None),
        ("convert", "Missing argument"),
        ("simulate OUT --scenes many", "valid integer"),
        ("eval --data DATA", "No such option: --data"),
        (f"predict img.png {GAP} --model {GAP}", None),
        ("train without --resume", None),
        ("inspect FILE says more", None),
        ("convert` on the recording again", None),
    ],
)
def test_the_check_itself(line: str, why: str | None) -> None:
    name, _, rest = line.partition(" ")
    quoted, quote, after = name.partition("`")
    found = problem(quoted, quote + after + (" " + rest if rest else ""))
    assert found is None if why is None else why in (found or "")
