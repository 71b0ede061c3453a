"""What a sweep's page takes, by the number of trials: to build, to load, to click, and to renew while it is watched.

    python benchmarks/report_page.py [--quick] [--trials 100,300,1000] [--every 5] [--live]

The records are synthetic and as long as real ones: 60 epochs a trial, every trial judged in full on 1,000 images by four
attacks; with `--every 5` one in five, the others left after the first. Limits at 1,000 trials: 20 s and 8 MB, shown within 3 s.
`--live` lets one more trial end while the page is watched, twice, and keeps the worst of each: within 100 ms a click must
find somebody.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
from _bench import Bench
from _page_watched import read, watched

from analysis.report import publish
from sweeps.record import Record
from tests.analysis.many import OBJECTIVES, ended, written

MOST, SECONDS, MEGABYTES, LOADED, ANSWERED = 1000, 20.0, 8.0, 3.0, 100.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="a minute: 30 trials")
    line.add_argument("--trials", default="100,300,1000", help="how many, separated by commas")
    line.add_argument("--every", type=int, default=1, help="which share is judged in full: one trial in so many")
    line.add_argument("--live", action="store_true", help="also how a page renews that is watched")
    options = line.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("what the page takes is measured in Chromium, and there is none on this machine")
    bench = Bench("report_page" + ("-live" if options.live else ""), options.quick)
    for trials in [30] if options.quick else [int(each) for each in options.trials.split(",")]:
        with tempfile.TemporaryDirectory() as results:
            folder = written(Path(results) / "sweep", trials, options.every)
            began = time.process_time()
            page = publish(folder, picture=False).index
            found = {"seconds to build": time.process_time() - began, "megabytes": page.stat().st_size / 1e6}
            found |= {f"seconds, {name}": value for name, value in read(browser, page).items()}
            if options.live:
                with Record(folder, OBJECTIVES) as record:
                    generator = np.random.default_rng(1)
                    told = watched(browser, folder, lambda: ended(record, generator, options.every))  # noqa: B023
                found |= {f"renewed: {name}": value for name, value in told.items()}
        for name, value in found.items():
            bench.row(f"{trials} trials", name, value)
        if trials == MOST:
            bench.target("seconds to build the page", found["seconds to build"], SECONDS)
            bench.target("megabytes of the page", found["megabytes"], MEGABYTES)
            bench.target("seconds until the page is loaded", found["seconds, load"], LOADED)
            if options.live:
                bench.target("ms of the longest task of a renewal", found["renewed: longest task, ms"], ANSWERED)
    bench.close()


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
