"""Print values that a change of structure must not change: a seeded training and every sample conversion.

    python scripts/golden.py > before.txt

Run at two commits, the outputs differ only where a change of behavior was meant. Everything goes through the
command line, so that the script outlives every rename below it. It takes about two minutes on two cores.

The first lines are the losses of a seeded training of 20 steps (its metrics.jsonl, times left out); then comes, for
every recording of the sample data, the sha256 of the `/frames` of the tensor file made from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE_DATA = REPOSITORY / "sample_data"
# one thread: sums in another order would change the last bits of a loss
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": str(REPOSITORY),
}
TRAINING = (
    "--steps",
    "20",
    "--seed",
    "0",
    "--batch-size",
    "2",
    "--workers",
    "0",
    "--device",
    "cpu",
    "--precision",
    "fp32",
    "--set",
    "threads=1",
    "--set",
    "eval_every=20",
)
TIMES = ("images_per_s",)  # measured, so they differ from run to run


def armseg(*arguments: object) -> str:
    """Standard output of a command.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "armseg_cli", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT).stdout


def training_lines(folder: Path) -> list[str]:
    """The rows of metrics.jsonl of the seeded training, every digit of them."""
    flag = "--output" if "--output" in armseg("train", "--help") else "--out"  # as older commits have it
    made = json.loads(armseg("train", SAMPLE_DATA, flag, folder, *TRAINING, "--json"))
    rows = map(json.loads, (Path(made["run"]) / "metrics.jsonl").read_text().splitlines())
    return [json.dumps({k: v for k, v in row.items() if k not in TIMES}, sort_keys=True) for row in rows]


def conversion_lines(folder: Path) -> list[str]:
    """sha256 of /frames, shape and name of every tensor file that the sample data gives."""
    import h5py
    import hdf5plugin  # noqa: F401  registers the compression filters

    armseg("convert", SAMPLE_DATA, "-o", folder, "--workers", "1")
    lines = []
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as file:
            frames = file["frames"][:]
        digest = hashlib.sha256(frames.tobytes()).hexdigest()
        lines.append(f"{digest} {frames.dtype} {frames.shape} {path.relative_to(folder)}")
    return lines


def main() -> None:
    """Print all lines."""
    with tempfile.TemporaryDirectory() as name:
        print("\n".join(training_lines(Path(name, "runs"))), flush=True)
        print("\n".join(conversion_lines(Path(name, "converted"))))


if __name__ == "__main__":
    main()
