"""How the cost of training grows with batch, width, depth and attack steps; and trials per minute with trials at a time.

    python benchmarks/growth.py [--quick] [--axes batch,width,depth,steps,workers] [--device cpu]

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
from typing import Any

from _bench import Bench, machine
from _contender import CEILING, FLOPS, OURS, Order
from train import STEPS, measure, template, trial, write_images

from robustray.devices import pick_device

FIGURES = Path(__file__).parent.parent / "docs/performance"
AXES = ("batch", "width", "depth", "steps", "workers")
SPACE = Path(__file__).parent.parent / "search_spaces/trades_beta.yaml"

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


def figure(name: str, x_title: str, title: str, unit: str, x: list[float], curves: dict[str, list[float]]) -> None:
    """A log-log figure of an axis, in a file of that name. What draws is loaded here: measuring does without it."""
    import plotly.graph_objects as go

    from analysis.palette import THEMES
    from analysis.picture import png

    look, drawn = THEMES["light"], go.Figure()
    for (words, values), colour in zip(curves.items(), look.categories, strict=False):
        drawn.add_scatter(x=x, y=values, name=words, mode="lines+markers", line={"color": colour}, marker={"size": 8})
    axis: dict[str, Any] = {"type": "log", "gridcolor": look.grid, "linecolor": look.muted}
    labels = [mantissa * 10**power for power in range(-2, 6) for mantissa in (1, 2, 5)]
    largest = max(max(values) for values in curves.values())
    least = min(min(values) for values in curves.values())
    drawn.update_layout(
        title={"text": f"{title}<br><sub>{machine()}</sub>", "x": 0.02},
        paper_bgcolor=look.paper, plot_bgcolor=look.paper, font={"color": look.ink},
        xaxis={**axis, "title": x_title, "tickvals": x, "ticktext": [f"{place:g}" for place in x]},
        yaxis={**axis, "title": unit, "tickvals": labels, "ticktext": [f"{label:g}" for label in labels],
               "range": [math.log10(least / 1.5), math.log10(1.5 * largest)]},
        width=680, height=420, margin={"l": 60, "r": 20, "t": 70, "b": 50},
    )  # fmt: skip
    FIGURES.mkdir(exist_ok=True)
    try:
        (FIGURES / f"{name}.png").write_bytes(png(drawn))
    except Exception as error:
        print(f"{name}.png was not drawn: {str(error).splitlines()[0]}")


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="about a minute: the beginning of two axes, no figures")
    line.add_argument("--axes", default=",".join(AXES), help="which of batch, width, depth, steps, workers")
    line.add_argument("--precision", help="which of fp32, bf16, a curve each; default: both, fp32 where quick")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda")
    line.add_argument("--workers", default="1,2,4", help="how many trials at a time, on the axis of workers")
    line.add_argument("--trials", type=int, default=40, help="trials on the axis of workers")
    options = line.parse_args()
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
        curves: dict[str, list[float]] = {}
        for precision in precisions:
            for place, speed, gflop, batch in speeds(axis, device, precision, needed, quick=options.quick):
                share = round(speed * gflop / ceilings[precision], 3)
                words = f"{precision}, images/s"
                bench.row(f"{axis} {place:g}", words, speed, gflop=round(gflop, 3), utilisation=share, batch=batch)
                curves.setdefault(precision, []).append(speed)
        if not options.quick:
            x = [place for place, *_ in points(axis, device, quick=False)]
            name = axis if device == "cpu" else f"{axis}-{device}"
            figure(name, axis, f"TRADES-10: images/s against {axis}", "images/s", x, curves)
    if "workers" in axes:
        counts = [int(each) for each in options.workers.split(",")]
        rates = [trials_per_minute(count, options.trials) for count in counts]
        for count, rate in zip(counts, rates, strict=True):
            bench.row(f"workers {count}", "trials per minute, shipped sweep", rate)
        title = "Trials per minute of the shipped sweep"
        figure("workers", "workers", title, "trials/min", [float(c) for c in counts], {"": rates})
    bench.close()


if __name__ == "__main__":
    main()
