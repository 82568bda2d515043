"""`armseg check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from armseg_cli.console import print_next, print_table, say
from armseg_cli.options import JsonOption, QuietOption
from armseg_core import advice
from armseg_core.files.json_text import to_json

if TYPE_CHECKING:
    from armseg_core.data.check_report import Report


def command(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the data set.")],
    fast: Annotated[bool, typer.Option("--fast", help="Do not read and convert the sensor files.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """List every problem of a data set: missing and damaged files, sizes, label values, splits, classes.

    Reads every file. Exit code 0: no errors (there may be warnings). 2: there are errors.

    Example:
        armseg check sample_data
    """
    from armseg_core.data.checking import check_dataset

    with _Progress(quiet) as progress:
        report = check_dataset(data, sensors=not fast, progress=progress)
    if as_json:
        say(to_json(report.to_dict(), indent=2))
    else:
        _print(report)
        if report.ok and "train" in report.splits:
            print_next(advice.command("train", data))
        elif not report.ok:
            print_next(advice.command("check", data), "after correcting the errors")
    raise typer.Exit(0 if report.ok else 2)


def _print(report: Report) -> None:
    sensors = list(dict.fromkeys(name for counts in report.sensors.values() for name in counts))
    rows = [
        (split, count, *(report.sensors[split].get(name, 0) for name in sensors))
        for split, count in report.splits.items()
    ]
    if rows:
        print_table(
            ("split", "samples", *sensors),
            rows,
            title=f"{report.name}: {report.root}",
            numeric=range(1, len(sensors) + 2),
        )
    labeled = {split: shares for split, shares in report.labels.items() if shares}
    if labeled:
        _print_classes(labeled)
    if report.problems:
        print_table(
            ("", "count", "problem", "for example", "what happens", "what to do"),
            [
                (
                    "error" if p.error else "warning",
                    p.count,
                    p.what,
                    ", ".join(p.examples[:3]),
                    p.then,
                    p.hint,
                )
                for p in report.problems
            ],
            numeric=(1,),
        )
    errors, warnings = len(report.errors), len(report.warnings)
    say(
        f"{errors} kind{'s' * (errors != 1)} of error, {warnings} of warning."
        if report.problems
        else "No problems found."
    )


def _print_classes(labeled: dict[str, dict[str, Any]]) -> None:
    """Per class and split: the share of the pixels, and of the labels that hold it."""
    columns: list[dict[str, float]] = []
    for shares in labeled.values():
        columns.append({**shares["classes"], "(ignored)": shares["ignored"], "(no class)": shares["unknown"]})
        columns.append(shares["images"])
    print_table(
        ("class", *(text for split in labeled for text in (f"{split}: pixels", "images with it"))),
        [(name, *(_percent(column.get(name, 0.0)) for column in columns)) for name in columns[0]],
        numeric=range(1, len(columns) + 1),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %" if share else "-"


class _Progress:
    """A progress bar on stderr, where that is a terminal; called with (samples done, samples in all)."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def __enter__(self) -> _Progress:
        self._bar: Any = None
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                desc="check",
                unit="sample",
                file=sys.stderr,
                leave=False,
                disable=self._quiet or not sys.stderr.isatty(),
            )
        self._bar.update(1)

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()
