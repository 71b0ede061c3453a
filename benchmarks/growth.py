"""How the cost of training grows with batch, width, depth and attack steps; and trials per minute with trials at a time.

    python benchmarks/growth.py [--quick] [--axes batch,width,depth,steps,workers] [--device cpu]
    python benchmarks/growth.py --figure benchmarks/results/DATE-growth.csv

TRADES on 32x32 pixels through the trainer, each point in a process of its own. On a CPU the network is PreActResNet-18 with 16
channels instead of 64, so that a step takes a second. Beside every speed stands its distance from the limit: the FLOP/s that
the lean algorithm needs over those of the fastest large product or convolution. A figure per axis goes to docs/performance/.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from _bench import Bench
from _contender import CEILING, FLOPS, OURS, Order
from _look import rows_of
from train import STEPS, measure, template, trial, write_images

from robustray.devices import pick_device

FIGURES = Path(__file__).parent.parent / "docs/performance"
AXES = ("batch", "width", "depth", "steps", "workers")
SPACE = Path(__file__).parent.parent / "search_spaces/trades_beta.yaml"

X_TITLES = {
    "batch": "images in a batch",
    "width": "channels of the first stage",
    "depth": "layers",
    "steps": "attack steps",
    "workers": "trials at a time",
}

Point = tuple[float, list[str], int]
"""Where on the axis, the options of the trial, and images per batch."""


def points(axis: str, device: str, *, quick: bool) -> list[Point]:
    """What is measured along an axis."""
    large = device == "cuda"
    width, batch = (64, 128) if large else (16, 16)
    base = [f"model.width={width}"]
    wide = f"model={{name: wide_resnet, width: {10 if large else 1}, depth: %d}}"
    found: dict[str, list[Point]] = {
        "batch": [(n, base, n) for n in ((32, 64, 128, 256, 512, 1024) if large else (1, 2, 4, 8, 16, 32, 64))],
        "width": [(n, [f"model.width={n}"], batch) for n in ((16, 32, 64, 128, 256) if large else (4, 8, 16, 32, 64))],
        "depth": [(n, [wide % n], batch) for n in (10, 16, 22, 28, 34)],
        "steps": [(n, [*base, f"attack.steps={n}"], batch) for n in (1, 2, 5, 10, 20)],
    }
    return found[axis][:3] if quick else found[axis]


def speeds(
    axis: str, device: str, precision: str, needed: dict[tuple[str, ...], float], *, quick: bool
) -> Iterator[tuple[float, float, float, int]]:
    """(place, images/s, GFLOP per image, batch) of every point.

    Args:
        needed: GFLOP per image by options, counted once: they depend neither on the batch nor on the precision.
    """
    for place, options, batch in points(axis, device, quick=quick):
        with tempfile.TemporaryDirectory() as work:
            images = Path(work) / "images.npz"
            steps = STEPS[device]
            write_images(images, (sum(steps) + 1) * batch)
            base = template(str(images), "trades", "preact_resnet18", batch, 10)
            asked = trial(base, [*options, f"precision={precision}"])
            said = f"{axis} {place:g}"
            order = Order(OURS, asked.model_dump(mode="json"), device, f"{work}/ours", *steps)
            seconds = sorted(measure(order, said)["seconds"])
            if tuple(options) not in needed:
                count = trial(base, [*options, "batch.size=2"]).model_dump(mode="json")
                needed[tuple(options)] = measure(Order(FLOPS, count, device, f"{work}/flops"), said)["value"] / 1e9
            yield place, batch / seconds[len(seconds) // 2], needed[tuple(options)], batch


def trials_per_minute(workers: int, trials: int) -> float:
    """Trials of the shipped space a minute on Ray, so many at a time, not judged; once every worker has ended its first.

    Before that Ray and its workers start, which a long sweep does not notice.
    """
    import sweeps
    from sweeps.record import read
    from sweeps.space import Sweep

    overrides = [f"search.trials={trials}", "judge.trials=none", f"resources={{trials_per_device: {workers}}}"]
    with tempfile.TemporaryDirectory() as results:
        sweep = Sweep.from_yaml(SPACE, overrides=overrides)
        sweeps.run(sweep, Path(results) / "sweep", "ray", write=lambda line: None)
        ended = sorted(each.finished for each in read(Path(results) / "sweep").trials if each.finished is not None)
    return 60 * (trials - workers) / (ended[-1] - ended[workers - 1]).total_seconds()


def figures(rows: pd.DataFrame, device: str) -> None:
    """A figure for each axis that rows of a device are of. What draws is loaded here: measuring does without it."""
    import plotly.graph_objects as go
    from _look import LOOK, SYMBOLS, save, titled

    for axis, part in rows.assign(axis=rows["case"].str.split().str[0]).groupby("axis", sort=False):
        name, drawn = str(axis), go.Figure()
        many = part["measure"].nunique() > 1
        for place, (what, curve) in enumerate(part.groupby("measure", sort=False)):
            drawn.add_scatter(
                x=curve["case"].str.split().str[1].astype(float), y=curve["value"], name=str(what).split(",")[0],
                mode="lines+markers", showlegend=many, line={"color": LOOK.categories[place], "width": 2},
                marker={"size": 9, "symbol": SYMBOLS[place]},
            )  # fmt: skip
        places = sorted({float(case.split()[1]) for case in part["case"]})
        drawn.update_xaxes(type="log", title=X_TITLES[name], tickvals=places, ticktext=[f"{each:g}" for each in places])
        if name == "workers":
            drawn.update_yaxes(title="trials a minute", rangemode="tozero")
        else:
            labels = [mantissa * 10**power for power in range(-2, 6) for mantissa in (1, 2, 5)]
            ends = [math.log10(part["value"].min() / 1.4), math.log10(1.4 * part["value"].max())]
            texts = [f"{label:g}" for label in labels]
            drawn.update_yaxes(type="log", title="images a second", tickvals=labels, ticktext=texts, range=ends)
        machine = str(part["machine"].iloc[0])
        said = "Trials of the shipped sweep" if name == "workers" else "Training by TRADES with 10 attack steps"
        if name == "steps":
            said = "Training by TRADES"
        legend = (
            {"x": 0.98, "y": 0.98, "xanchor": "right", "yanchor": "top"} if name != "batch" else {"x": 0.02, "y": 0.98}
        )
        file = f"{name}-cuda" if device == "cuda" and name != "workers" else name
        layout = {"title": titled(said, machine), "margin": {"l": 60, "r": 25, "t": 65, "b": 50}, "legend": legend}
        save(drawn, FIGURES / f"{file}.png", 560, 360, **layout)


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="about a minute: the beginning of two axes, no figures")
    line.add_argument("--axes", default=",".join(AXES), help="which of batch, width, depth, steps, workers")
    line.add_argument("--precision", help="which of fp32, bf16, a curve each; default: both, fp32 where quick")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda")
    line.add_argument("--workers", default="1,2,4", help="how many trials at a time, on the axis of workers")
    line.add_argument("--trials", type=int, default=40, help="trials on the axis of workers")
    line.add_argument("--figure", type=Path, nargs="+", help="measure nothing: draw the figures of these dated CSVs")
    options = line.parse_args()
    if options.figure:
        figures(rows_of(*options.figure), options.device)
        return
    device = pick_device(options.device).type
    axes = ["width", "steps"] if options.quick else options.axes.split(",")
    precisions = (options.precision or ("fp32" if options.quick else "fp32,bf16")).split(",")
    bench = Bench("growth" if options.quick or set(axes) == set(AXES) else f"growth-{'-'.join(axes)}", options.quick)
    ceilings = {
        precision: measure(Order(CEILING, {}, device, "", precision=precision), "ceiling")["value"] / 1e9
        for precision in precisions
    }
    needed: dict[tuple[str, ...], float] = {}
    for axis in (each for each in axes if each != "workers"):
        for precision in precisions:
            for place, speed, gflop, batch in speeds(axis, device, precision, needed, quick=options.quick):
                share = round(speed * gflop / ceilings[precision], 3)
                words = f"{precision}, images/s"
                bench.row(f"{axis} {place:g}", words, speed, gflop=round(gflop, 3), utilisation=share, batch=batch)
    if "workers" in axes:
        counts = [int(each) for each in options.workers.split(",")]
        rates = [trials_per_minute(count, options.trials) for count in counts]
        for count, rate in zip(counts, rates, strict=True):
            bench.row(f"workers {count}", "trials per minute, shipped sweep", rate)
    if not options.quick:
        figures(rows_of(bench.path), device)
    bench.close()


if __name__ == "__main__":
    main()
