"""Does each sensor help? ONE joint model over all five sensors against an RGB-only model of the same recipe and steps.

For every sensor: mIoU on held-out simulated scenes of the RGB-only model, of the joint model with RGB alone, with RGB and
the sensor, and with RGB and the sensor frame of another scene (a gain that stays there would not come from the sensor).

    python benchmarks/fusion.py

Finished trainings are kept in --work; a cut-off one goes on. Prints a Markdown table for benchmarks/RESULTS.md.
"""

from __future__ import annotations

from runner import SENSORS, Variant, header, mean_std, parser, run_all

VARIANTS = [Variant("joint"), Variant("rgb", ())]


def main() -> None:
    args = parser(__doc__, steps=1000, controls=True).parse_args()
    results = run_all(args, VARIANTS, __file__)
    joint = sorted((r for r in results if r["variant"] == "joint"), key=lambda r: r["seed"])
    rgb = sorted((r for r in results if r["variant"] == "rgb"), key=lambda r: r["seed"])
    base = [r["rows"]["rgb"]["miou"] for r in rgb]
    print(header(args) + "\n")
    print(
        f"RGB-only model: {mean_std(base)} mIoU. Joint model without a sensor: "
        f"{mean_std([r['rows']['rgb']['miou'] for r in joint])}. Minutes per training: "
        + ", ".join(f"{r['variant']} {r['minutes']}" for r in results)
        + "\n"
    )
    print(
        "| sensor | RGB-only model | joint, RGB + sensor | gain (points) | smallest gain of a seed | other scene's sensor | gain left "
        "| sensor alone |\n|---|---|---|---|---|---|---|---|"
    )
    for sensor in SENSORS:
        with_sensor = [r["rows"][f"rgb+{sensor}"]["miou"] for r in joint]
        other = [r["rows"][f"rgb+{sensor} (other scene)"]["miou"] for r in joint]
        alone = [r["rows"][sensor]["miou"] for r in joint]
        gain = [a - b for a, b in zip(with_sensor, base, strict=True)]
        left = [a - b for a, b in zip(other, base, strict=True)]
        print(
            f"| {sensor} | {mean_std(base)} | {mean_std(with_sensor)} | {mean_std(gain)} | {100 * min(gain):.1f} | {mean_std(other)} "
            f"| {mean_std(left)} | {mean_std(alone)} |"
        )
    print("\nIoU by class (mean of the seeds, percent):\n")
    columns = ["rgb", *(f"rgb+{s}" for s in SENSORS)]
    print("| class | RGB-only model | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 2) + "|")
    for k, name in enumerate(joint[0]["classes"]):
        cells = [sum((r["rows"]["rgb"]["iou"][k] or 0) for r in rgb) / len(rgb)]
        cells += [sum((r["rows"][c]["iou"][k] or 0) for r in joint) / len(joint) for c in columns]
        print(f"| {name} | " + " | ".join(f"{100 * c:.1f}" for c in cells) + " |")


if __name__ == "__main__":
    main()
