"""What `kill -9`, SIGTERM and SIGHUP at random moments do to a training and to a folder conversion.

    python benchmarks/kill_test.py [MOMENTS [SEED]]

For each command and signal a small run is ended MOMENTS times (default 20), each time at a random moment, and
goes on. A problem is anything lost, half-written, left over after the next start, or different from the
undisturbed run (weights and numbers bit for bit, times aside).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "support")]

from kill_runs import SIGNALS, kill_conversions, kill_trainings  # noqa: E402


def main() -> None:
    """Print the table, a row per command and signal."""
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    print("command   signal    moments  nothing yet  at work  done  problems  seconds")
    for command, work in (("train", kill_trainings), ("convert", kill_conversions)):
        for title, number in SIGNALS.items():
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                found = work(Path(folder), number, moments, seed)
            print(
                f"{command:9} {title:9} {found.moments:7}  {found.early:11}  {found.at_work:7}  {found.late:4}"
                f"  {len(found.problems):8}  {time.monotonic() - began:7.0f}",
                flush=True,
            )
            for problem in found.problems:
                print(f"    {problem}", flush=True)


if __name__ == "__main__":
    main()
