"""What does each part of the model bring? The full model against the model without one part, at a reduced budget.

    python benchmarks/ablation.py

Finished trainings are kept in --work. Prints a Markdown table for benchmarks/RESULTS.md: mIoU on held-out simulated
scenes, mean over the five sensors of RGB + sensor, and by sensor.
"""

from __future__ import annotations

import numpy as np
from runner import SENSORS, Variant, header, mean_std, parser, run_all

FULL = {"model.guidance": True, "loss.align": 0.1}  # every part on, also those that the defaults leave off
VARIANTS = [
    Variant("full", settings=FULL),
    Variant("no MA-CLIP guidance", settings={**FULL, "model.guidance": False}),
    Variant("no aligned embeddings", settings={**FULL, "model.aligned": False, "loss.align": 0.0}),
    Variant("no alignment loss", settings={**FULL, "loss.align": 0.0}),
    Variant("no DSRM", settings={**FULL, "model.dsrm": False}),
    Variant("no LoRA (frozen tower)", settings={**FULL, "model.lora_rank": 0}),
    Variant("a stream for each sensor", settings={**FULL, "model.streams": "each"}),
    Variant("defaults"),
    Variant("RGB only", ()),
]


def main() -> None:
    args = parser(__doc__, steps=200, controls=False).parse_args()
    results = run_all(args, VARIANTS, __file__)
    print(header(args) + "\n")
    print(
        "| model | mean of RGB + sensor | against full | "
        + " | ".join(SENSORS)
        + " | RGB alone | minutes |\n"
        + "|---" * (len(SENSORS) + 5)
        + "|"
    )
    full: dict[int, float] = {}
    for variant in VARIANTS:
        rows = [r for r in results if r["variant"] == variant.name]
        columns = [f"rgb+{s}" for s in SENSORS if variant.modalities] or ["rgb"]
        means = {r["seed"]: float(np.mean([r["rows"][c]["miou"] for c in columns])) for r in rows}
        full = full or means
        sensors = [
            mean_std([r["rows"][f"rgb+{s}"]["miou"] for r in rows]) if variant.modalities else ""
            for s in SENSORS
        ]
        print(
            f"| {variant.name} | {mean_std(list(means.values()))} | {mean_std([means[s] - full[s] for s in means])} | "
            + " | ".join(sensors)
            + f" | {mean_std([r['rows']['rgb']['miou'] for r in rows])} | "
            f"{np.mean([r['minutes'] for r in rows]):.1f} |"
        )


if __name__ == "__main__":
    main()
