"""How long the front door takes: help, a mistake, and the first step of training, each from a cold process.

    python benchmarks/door.py [--quick] [--backend local|ray|both]

Every measurement starts a new Python; files are in the system's cache, as for anybody's second command. The first step of
training ends when its checkpoint is on disk: one is written after every step here. The sweep is then stopped.
"""

from __future__ import annotations

import argparse
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from _bench import Bench

from robustray.processors import cores

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "search_spaces" / "trades_beta.yaml"
TARGETS = {"help": 0.5, "yaml-error": 1.5, "first-step-local": 12.0, "first-step-ray": 12.0}
PATIENCE = 120.0


Times = tuple[float, float]
"""Seconds by the clock, and of all processors: on a busy machine the second tells more."""


def ended(command: list[str], folder: Path, code: int) -> Times:
    """Until a command ends, which it must with this exit code."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == code, done.stderr
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stepped(backend: str, folder: Path) -> Times:
    """Until a sweep has made its first optimiser step."""
    settings = ["trial.checkpoints.minutes=1e-9", "search.sampler=random", f"name={backend}"]
    flags = [word for setting in settings for word in ("--set", setting)]
    checkpoint = folder / "results" / backend / "trials" / "0000" / "last.pt"
    command = [sys.executable, str(ROOT / "run_sweep.py"), str(SPACE), "--backend", backend, *flags]
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
    try:
        while not checkpoint.exists():
            assert process.poll() is None, process.communicate()[1].decode()
            assert time.perf_counter() - begun < PATIENCE
            time.sleep(0.01)
        seconds, parent = time.perf_counter() - begun, psutil.Process(process.pid)
        spent = [each.cpu_times() for each in (parent, *parent.children(recursive=True))]
        return seconds, sum(each.user + each.system for each in spent)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once instead of seven times")
    parser.add_argument("--backend", choices=("local", "ray", "both"), default="both", help="of the first step")
    options = parser.parse_args()
    bench, repeats = Bench("door", options.quick), 1 if options.quick else 7
    times: dict[str, list[Times]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "bad.yaml").write_text(SPACE.read_text().replace("width: 2", "width: -2"))
            sweep = str(ROOT / "run_sweep.py")
            commands = {
                "help": ([sweep, "--help"], 0),
                "help-one-model": (["-m", "robustray", "judge", "--help"], 0),
                "help-analysis": (["-m", "analysis", "--help"], 0),
                "yaml-error": ([sweep, "bad.yaml", "--backend", "local"], 2),
                "explain": ([sweep, "--explain", "trades"], 0),
            }
            for case, (command, code) in commands.items():
                times.setdefault(case, []).append(ended(command, folder, code))
            for backend in ("local", "ray") if options.backend == "both" else (options.backend,):
                times.setdefault(f"first-step-{backend}", []).append(stepped(backend, folder))
    for case, all_ in times.items():
        clock, processors = zip(*all_, strict=True)
        more = {"best": round(min(clock), 3), "processors": round(statistics.median(processors), 3)}
        bench.row(case, "seconds, median", statistics.median(clock), unit="s", **more, n=len(all_), cores=cores())
        if case in TARGETS:
            bench.target(case, statistics.median(clock), TARGETS[case])
    bench.close()


if __name__ == "__main__":
    main()
