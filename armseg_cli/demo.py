"""`armseg demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from armseg_cli.console import print_next, print_table, say
from armseg_cli.options import (
    DeviceOption,
    ForceOption,
    JsonOption,
    OutputOption,
    QuietOption,
    SeedOption,
    StepsOption,
)
from armseg_core import advice
from armseg_core.files.json_text import to_json

if TYPE_CHECKING:
    from armseg_core.demo import DemoResult


def command(
    output: OutputOption = "demo_out",
    steps: StepsOption = None,
    device: DeviceOption = "auto",
    seed: SeedOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole way on the sample data: convert, train, eval, predict, visualize.

    Takes two to four minutes on 2 CPU cores. The model is small and trained briefly, with the bundled
    demonstration CLIP: the numbers show that the parts work, not how good armseg gets.

    Example:
        armseg demo -o demo_out
    """
    from armseg_core.demo import STEPS, run_demo

    folder = Path(output or "demo_out")
    result = run_demo(
        folder,
        steps=steps or STEPS,
        device=device,
        seed=seed or 0,
        say=lambda line: say(line, err=as_json),
        progress=not quiet,
        force=force,
    )
    if as_json:
        say(
            to_json(
                {
                    "run": str(result.run),
                    "data": str(result.data),
                    "seconds": result.seconds,
                    "pictures": [str(path) for path in result.pictures],
                    "evaluation": result.report.to_dict(),
                },
                indent=2,
            )
        )
    else:
        show(result, folder)


def show(result: DemoResult, output: Path) -> None:
    """Print the results table, the times and where the pictures are."""
    from armseg_core.learning.inputs import RGB_ONLY

    rgb_only = result.report.row(RGB_ONLY).matrix.miou
    rows = []
    for row in result.report.rows:
        gain = "" if row.inputs == RGB_ONLY else f"{100 * (row.matrix.miou - rgb_only):+.1f}"
        rows.append(
            (
                row.inputs.title,
                f"{row.matrix.miou:.1%}",
                gain,
                f"{row.matrix.pixel_accuracy:.1%}",
                row.samples,
            )
        )
    print_table(
        ("inputs", "mIoU", "gain in points", "pixel accuracy", "test scenes"),
        rows,
        title="One model, with and without each sensor",
        numeric=(1, 2, 3, 4),
    )
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    say(f"Time: {times}; {sum(result.seconds.values()):.0f} s in all.")
    say(
        f"Pictures: {result.pictures[0]} (everything on one page), {output / 'predictions'}, "
        f"{output / 'sensors'}"
    )
    print_next(advice.command("visualize", result.run), "training curves and confusion matrix")
