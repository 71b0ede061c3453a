"""Whether our search reaches the frontier at less cost than others do: simulated sweeps over tables of learning curves.

    python benchmarks/search.py [--quick] [--part tune|report] [--table PATH ...] [--searches NAME,...] [--sweeps N]
    python benchmarks/search.py --install-rivals
    python benchmarks/search.py --figure benchmarks/results/DATE-search.csv

Each sweep has 4 workers and the cost of 60 whole trainings, in the mean over the table's settings. Starts, resumptions and
evaluations are charged a tenth of an epoch each. A search meets one seed of the table, and settings that it draws become the
nearest of the table that was not tried. Its regret is the share of the best hypervolume that the trials lack which it
finished, by their mean test accuracies with the other seeds; the reference point is the frontier's nadir less 10 %. `selected`
counts only those trials that look non-dominated by what the search was told. Costs to the final median regret of plain
OptunaSearch (TPE, first in, first out) come with 95 % of 1,000 bootstrap resamples of the sweeps of both.

A table is searched as it is, with a fifth of its settings for a budget, and made dense: 2,000 settings, whose curves small
networks were fitted to (`_fitted.py`). Variants were chosen on `--part tune`, over networks of seed 0, and are judged on
`--part report`: networks of seed 1, the tables as they are, other sweeps, and tables that nothing was chosen on. What is done
is kept in build/, and a run that was killed goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from _bench import Bench
from _fitted import FAITHFUL, fit_error
from _search_driver import driver
from _search_runs import OWN_ENVIRONMENT, Runs, run_all
from _search_scores import BASELINE, ENOUGH, OURS, RIVALS, judge, regrets
from _searches import SEARCHES, TABLES, Task, curves

BUILD = Path(__file__).parent.parent / "build"
FIGURES = Path(__file__).parent.parent / "docs/performance"
SLOW, LESS = ("optuna_gp", "neps_primo"), ("hub_", "neps_moasha", "syne_", "halving")
"""How names of searches begin whose sweeps take half a minute and more, or some seconds: they get few, or a half."""
UNSEEN = ("digits_one_cycle", "images_one_cycle")
"""Tables that nothing was chosen on."""
LATER = 1000
"""Numbers of the report's sweeps begin here."""
PACKAGES = ("neural-pipeline-search==0.17.*", "syne-tune==0.16.*", "dill", "optunahub")


def tasks(options: argparse.Namespace, searches: list[str]) -> list[Task]:
    """All sweeps, in the order in which they are worth most: first few of everything."""
    found = []
    for path in options.table or sorted(TABLES.glob("*.parquet")):
        stem = Path(path).stem
        if options.part == "tune" and stem in UNSEEN:
            continue
        begin = 0 if options.part == "tune" else LATER
        for settings in options.settings.split(",") if options.settings else _parts(options.part, str(path)):
            for search in searches:
                count = options.sweeps if not search.startswith(LESS) else (options.sweeps + 1) // 2
                count = min(count, options.slow) if search.startswith(SLOW) else count
                numbers = range(begin, begin + count)
                found += [(number, Task(str(path), settings, search, number, options.registry)) for number in numbers]
    return [task for _, task in sorted(found, key=lambda each: each[0] // 12)]


def _parts(part: str, table: str) -> tuple[str, ...]:
    """What of a table is searched; none that is made dense where the networks do not fit it."""
    sweep, known = curves(table, "all")
    error = fit_error(sweep, known, BUILD)
    faithful = bool((error >= FAITHFUL).all())
    said = ", ".join(f"{name} {value:.2f}" for name, value in zip(sweep.objectives, error.tolist(), strict=True))
    print(
        f"{Path(table).stem}: R^2 of settings that networks have not seen: {said}{'' if faithful else '; not made dense'}"
    )
    if part == "tune":
        return ("fitted0",) if faithful else ()
    return ("fitted1", "all") if faithful else ("all",)


def install(folder: Path) -> None:
    """Makes the rivals' environment: it sees the packages of this one, and adds theirs and no other version of ours.

    Raises:
        SystemExit: there is no uv, or the packages could not be installed.
    """
    import shutil
    import sysconfig
    import tempfile
    from importlib.metadata import distributions

    bootstrapped = Path(sys.prefix) / "uv/bin/uv"  # by `make install`
    uv = shutil.which("uv") or (str(bootstrapped) if bootstrapped.exists() else None)
    if uv is None:
        raise SystemExit("uv is not installed, which installs the rivals' packages: pip install uv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)  # noqa: S603
    inside = next(folder.glob("lib/python*/site-packages"))
    (inside / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    ours = sorted({each.metadata["Name"] for each in distributions()})
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}; sys_platform == 'none'\n" for name in ours)  # there already: not to be installed
        file.flush()
        command = [uv, "pip", "install", "--python", str(folder / "bin/python"), "--override", file.name, *PACKAGES]
        if subprocess.run(command, check=False).returncode:  # noqa: S603
            raise SystemExit(f"the rivals' packages could not be installed into {folder}; uv says why above")
    print(
        f"{folder}: ready. For the hub's pruner: git clone https://github.com/optuna/optunahub-registry build/registry"
    )


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument(
        "--quick", action="store_true", help="about a minute: 3 sweeps of ours, TPE and random, and the driver"
    )
    line.add_argument("--part", choices=("tune", "report"), default="report", help="which half")
    line.add_argument("--settings", help="instead: all, even, odd, fitted0, fitted1 ..., with commas")
    line.add_argument("--table", action="append", help="a table; by default all in benchmarks/tables")
    line.add_argument("--searches", help=f"names, with commas: {', '.join([*SEARCHES, *RIVALS])}")
    line.add_argument("--sweeps", type=int, default=40, help="per table and search")
    line.add_argument("--slow", type=int, default=12, help="at most so many of searches that take half a minute each")
    line.add_argument("--workers", type=int, default=1, help="sweeps at a time")
    line.add_argument("--seconds", type=float, default=float("inf"), help="after which no sweep is begun")
    line.add_argument("--rivals", type=Path, default=BUILD / "rivals", help="their environment")
    line.add_argument("--registry", default=str(BUILD / "registry"), help="a checkout of optunahub-registry")
    line.add_argument("--cache", type=Path, default=BUILD / "searches.jsonl", help="where sweeps are kept")
    line.add_argument("--name", default="search", help="of the CSV, and of the figures")
    line.add_argument("--only-run", action="store_true", help="run sweeps, and report nothing")
    line.add_argument("--install-rivals", action="store_true", help="make the rivals' environment, with uv")
    line.add_argument("--figure", type=Path, nargs="+", help="run nothing: draw the figures of these dated CSVs")
    options = line.parse_args()
    if options.figure:
        _draw(options.name, *options.figure)
        return
    if options.install_rivals:
        install(options.rivals)
        return
    if options.quick:
        options.sweeps = min(options.sweeps, 3)
    searches = ["random", BASELINE, OURS] if options.quick else [*SEARCHES, *RIVALS]
    searches = list(dict.fromkeys(options.searches.split(",") if options.searches else searches))
    python = options.rivals / "bin/python"
    options.registry = options.registry if Path(options.registry).is_dir() else ""
    left_out = [name for name in searches if name.startswith(OWN_ENVIRONMENT) and not python.exists()]
    left_out += [name for name in searches if name.startswith("hub_") and not options.registry and name not in left_out]
    if left_out:
        print(f"not installed, left out: {', '.join(left_out)}; see --install-rivals")
    searches = [name for name in searches if name not in left_out]
    runs, wanted = Runs(options.cache), tasks(options, searches)
    there = python.absolute() if python.exists() else None
    run_all(wanted, runs, workers=options.workers, python=there, seconds=options.seconds)
    if options.only_run:
        return
    bench = Bench(f"{options.name}-{options.part}" if options.part != "report" else options.name, options.quick)
    found = regrets(runs, wanted)
    for (table, budget), by_search in found.items():
        judge(bench, table, budget, by_search)
    if not options.quick:
        _draw(options.name, bench.path)
    driver(bench, quick=options.quick)
    bench.close()


def _draw(name: str, *tables: Path) -> None:
    """The figures of tables: what draws is loaded here."""
    from _look import rows_of
    from _search_figures import figures

    figures(rows_of(*tables), FIGURES, name, [OURS, BASELINE], ENOUGH)


if __name__ == "__main__":
    main()
