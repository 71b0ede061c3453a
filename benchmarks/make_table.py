"""Tables of learning curves: settings of a space, each trained with several seeds and measured on the way.

    python benchmarks/make_table.py benchmarks/tables/digits_constant.yaml
    python benchmarks/make_table.py SPACE.yaml --slice 3/8 --seconds 3600    # the third of eight machines, for an hour
    python benchmarks/make_table.py SPACE.yaml --join                        # the table of what is there

Settings fill the space evenly. All seeds of one are trained before the next, so what there is at any time is a table. A
training is a file in `results/tables/NAME/`, renamed into place when it is whole: the same command again goes on, also from a
table that was joined before. As it ends (not with a slice: copy the parts into one folder, then `--join`), `NAME.parquet`
beside the space has every setting with all its seeds; `sweeps/search/tables.py` says what its columns are.

Accuracies are of the project's own trainer, on validation and, at the end, on test images, of raw and of averaged weights,
robust ones by the space's `judge.cheap`. Seconds are of training steps alone, on one thread, and on a CPU the process's own:
by the clock, a training beside others costs many times as much. The load of the machine stands beside them.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from _curves import curve, rungs
from _tables import Made, Training, about, trainings

from robustray.errors import UserError
from sweeps.space import Sweep

EVERY = 20.0
"""Seconds between two lines of progress."""


def make(made: Made, sweep: Sweep, wanted: Sequence[Training], *, seconds: float, device: str) -> None:
    """Trains what is left of some trainings, until the time is over; the one at work is still finished."""
    left = made.left(wanted)
    begun = said = time.monotonic()
    for number, training in enumerate(left, 1):
        config = sweep.trial_config(training.params).model_copy(update={"seed": training.seed})
        rows = curve(config, rungs(config.schedule.epochs), device)
        load = round(os.getloadavg()[0], 2)
        made.keep(training, [{**row, "load": load} for row in rows])
        now = time.monotonic()
        each, done = (now - begun) / number, len(wanted) - len(left) + number
        if now - said > EVERY or number == len(left):
            said = now
            to_go = min(each * (len(left) - number), seconds - (now - begun))
            print(
                f"{done} of {len(wanted)} trainings, {each:.2f} s each, {max(to_go, 0) / 60:.1f} min left", flush=True
            )
        if now - begun > seconds:
            return


def _slice(text: str) -> tuple[int, int]:
    own, of = (int(part) for part in text.split("/"))
    if not 1 <= own <= of:
        raise ValueError
    return own, of


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path, help="the search space, a YAML file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replaces a value of it")
    parser.add_argument("--parts", type=Path, default=Path("results/tables"), help="folder of finished trainings")
    parser.add_argument("--out", type=Path, help="the table; default: beside the space, as .parquet")
    parser.add_argument("--settings", type=int, metavar="N", help="how many; default: the space's search.trials")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="trainings of a setting")
    parser.add_argument(
        "--slice", type=_slice, default=(1, 1), metavar="I/N", help="every N-th setting, from the I-th on"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first so many trainings only")
    parser.add_argument("--seconds", type=float, default=float("inf"), metavar="S", help="ends after so long")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--join", action="store_true", help="trains nothing")
    parser.add_argument("--quick", action="store_true", help="two settings, one seed, in the folder of the parts")
    options = parser.parse_args(arguments)
    if options.quick:
        options.settings, options.seeds, options.parts = 2, 1, options.parts / "quick"
    try:
        sweep = Sweep.from_yaml(options.space, overrides=options.set)
        out = options.parts / f"{sweep.name}.parquet" if options.quick else options.space.with_suffix(".parquet")
        made = Made(options.parts / sweep.name, options.out or out, about(sweep, options.device))
        if not options.join:
            number = sweep.trials if options.settings is None else options.settings
            wanted = list(trainings(sweep, number, options.seeds, options.slice))[: options.limit]
            make(made, sweep, wanted, seconds=options.seconds, device=options.device)
        if options.join or options.slice == (1, 1):
            table = made.join(sweep, options.seeds)
            print(f"{table.path}: {len(table.settings)} settings, {len(table.seeds)} seeds, epochs {table.epochs}")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
