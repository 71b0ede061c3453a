"""The judge beside plain pyautoattack, and the exact frontier beside judging everything.

    python benchmarks/judge.py [--quick] [--busy] [--mnist FOLDER] [--cases images --images FOLDER]

One model: the time of `AutoAttack(model, norm, eps).run_standard_evaluation(x, y)`, as its README says, and of our judge
on the same images, alternating; the same with frozen parameters and larger batches tells where the gain comes from.
Robust counts of three of the authors' seeds say how far apart two honest runs may be. A sweep: 24 trials are trained
once, then judged twice: the exact frontier, and everything. What the members cost in full is unavoidable.

Both sides compute in float32. On a GPU torch by itself rounds convolutions to TF32: pyautoattack in that is a row of its own.
With --busy a process for each core is at work beside both, as on a machine that others use too: threads of one operation
wait for each other, and all of them for it. Ours are as many as the command measures before, in that company.
The case `images` trains PreActResNet-18 on a folder of images (train/CLASS, test/CLASS) for an epoch first: for a GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _bench import Bench
from pyautoattack import AutoAttack
from torch import Tensor, nn

from robustray import subjects
from robustray.attacks import Pgd, Threat
from robustray.data import Digits, ImageFolder, Mnist
from robustray.judge import Judge, JudgeImages
from robustray.judging import shard_size
from robustray.judging.plan import Plan
from robustray.judging.workers import Order, run
from robustray.measures.threads import IMAGES, measured
from robustray.numerics import numerics
from robustray.processors import cores
from robustray.trial import TrialConfig
from robustray.verdicts import Verdicts, read_shards
from sweeps.judging.queue import Judging
from sweeps.record import Record, TrialRecord
from sweeps.running.local import Local
from sweeps.running.packing import Share
from sweeps.running.queues import Sized
from sweeps.space import Sweep

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)


def plain(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    seed: int,
    *,
    frozen: bool = False,
    batch: int = 250,
    tf32: bool = False,
) -> tuple[float, int]:
    """Seconds and robust images of pyautoattack as its README runs it, in float32 or in TF32."""
    model = model.eval().requires_grad_(not frozen)
    torch.set_num_threads(cores())  # our judge and training have left another number: the authors' code has them all
    attack = AutoAttack(
        model, norm={"linf": "Linf", "l2": "L2"}[threat.norm], eps=threat.eps, seed=seed, device=x.device
    )
    with numerics(tf32=tf32):
        begun = time.perf_counter()
        x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=batch)
        seconds = time.perf_counter() - begun
        with torch.no_grad():
            return seconds, int((model(x_adv).argmax(1) == y).sum())


def _shard_size(model: nn.Module, judge: Judge, devices: list[str]) -> int:
    """As the command decides."""
    plan = Plan.of(judge, "any", "test")
    data = judge.data.load("test").take(plan.rows[:500])
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2).float().div(255).contiguous()
    place = torch.device(devices[0])
    size = shard_size.size(model.to(place), x[:8], place, len(devices))
    return shard_size.shared_out(model, x[:size], size, plan, len(devices)) if place.type == "cpu" else size


def ours(order: Order, devices: list[str], root: Path) -> tuple[float, Verdicts]:
    """Seconds and verdicts of our judge, from an empty folder; loading, measuring threads and starting processes included."""
    shutil.rmtree(root, ignore_errors=True)
    begun = time.perf_counter()
    case = order.open(devices[0])
    if case.device.type == "cpu":
        torch.set_num_threads(measured(case.model, case.images(0)[0][:IMAGES]).number)
    for _ in run(case, order, devices, lambda stage, shard, fraction: None):
        pass
    return time.perf_counter() - begun, Verdicts.read(case.folder)


def one_model(
    bench: Bench, name: str, spec: Path, architecture: str | None, judge: Judge, repeats: int, devices: list[str]
) -> None:
    """Both ways on one model, alternating."""
    root = Path(tempfile.mkdtemp()) / "judgements"
    found = subjects.load(str(spec), architecture=architecture, data=judge.data, norm=judge.threat.norm)
    order = Order(
        spec=str(spec),
        architecture=architecture,
        weights=found.weights,
        judge=judge,
        split="test",
        root=root,
        shard_size=_shard_size(found.model, judge, devices),
        named={},
        files={},
        keep_images=False,
    )
    fast = replace(order, judge=judge.model_copy(update={"accelerated": True}))
    case = order.open(devices[0])
    model = case.model
    data = judge.data.load("test").take(case.plan.rows)
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2).float().div(255).contiguous().to(case.device)
    y = torch.from_numpy(data.labels).to(case.device)
    times: dict[str, list[float]] = {}
    robust: dict[str, int] = {}

    def note(what: str, result: tuple[float, Any]) -> None:
        times.setdefault(what, []).append(result[0])
        robust[what] = result[1] if isinstance(result[1], int) else int(result[1].robust.sum())

    try:
        for repeat in range(repeats):
            note(f"pyautoattack seed {SEEDS[repeat % 3]}", plain(model, x, y, judge.threat, SEEDS[repeat % 3]))
            model.requires_grad_(False)
            note("ours", ours(order, devices, root))
            if len(devices) > 1:
                note("ours, one process", ours(order, devices[:1], root))
            note("pyautoattack frozen", plain(model, x, y, judge.threat, 0, frozen=True))
            if repeat == 0 and x.is_cuda:
                note("pyautoattack in TF32", plain(model, x, y, judge.threat, 0, tf32=True))
            if repeat == 0 and repeats > 1:
                note("ours, accelerated", ours(fast, devices, root))
                note("pyautoattack frozen, batch 500", plain(model, x, y, judge.threat, 0, frozen=True, batch=500))
        for seed in SEEDS[min(repeats, 3) :]:
            note(f"pyautoattack seed {seed}", plain(model, x, y, judge.threat, seed))
    except KeyboardInterrupt:
        print("stopped; what was measured until now:")
    theirs = [t for what, all_ in times.items() if what.startswith("pyautoattack seed") for t in all_]
    if not theirs or "ours" not in times:
        return
    reference = statistics.median(theirs)
    for what, all_ in times.items():
        ratio = statistics.median(all_) / reference
        bench.row(
            name, what, statistics.median(all_), unit="s", ratio=round(ratio, 3), robust=robust[what], images=len(x)
        )
    counts = [robust[what] for what in robust if what.startswith("pyautoattack seed")]
    bench.row(
        name,
        "robust images, ours minus nearest of theirs",
        min(abs(robust["ours"] - c) for c in counts),
        spread=max(counts) - min(counts),
    )
    bench.target(f"one-model-{name}", statistics.median(times["ours"]) / reference, 0.5 if x.is_cuda else 0.8)


def digits_trial(folder: Path) -> Path:
    """TRADES on digits: the shipped sweep's template at beta 3."""
    from robustray.training import Trainer

    template = next(iter(Sweep.from_yaml(HERE.parent / "search_spaces/trades_beta.yaml").examples()))
    config = template.model_copy(update={"defense": template.defense.model_copy(update={"beta": 3.0})})
    folder.parent.mkdir(parents=True, exist_ok=True)
    Trainer(config, folder, threads=1).run()
    return folder


def resnet_trial(folder: Path, data: ImageFolder, *, quick: bool) -> Path:
    """PreActResNet-18 after an epoch of TRADES-10 with bf16: robust enough to keep every attack busy."""
    from robustray.training import Trainer

    options = {
        "judge": {"data": data.model_dump(), "threat": {"eps": 8 / 255}},
        "batch": {"size": 128, "augment": ["crop", "flip"]},
        "model": {"name": "preact_resnet18", **({"width": 16} if quick else {})},
        "attack": {"steps": 1 if quick else 10, "step_size": 2 / 255},
        "defense": "trades",
        "schedule": {"name": "one_cycle", "epochs": 1, "lr": 0.1},
        "precision": "bf16",
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    Trainer(TrialConfig.model_validate(options), folder).run()
    return folder


def mnist_lenet(folder: Path, data: Mnist, threat: Threat, images: int) -> Path:
    """LeNet, adversarially trained for one pass over some MNIST: robust enough to keep every attack busy."""
    from _lenet import lenet

    torch.manual_seed(0)
    model, train = lenet(), data.load("train")
    attack = Pgd(steps=5)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    order = np.random.default_rng(0).permutation(len(train))[:images]
    for rows in np.array_split(order, max(1, len(order) // 100)):
        x = torch.from_numpy(train.images[rows]).permute(0, 3, 1, 2).float() / 255
        y = torch.from_numpy(train.labels[rows])
        x_adv = attack(model, x, y, threat)
        optimiser.zero_grad()
        F.cross_entropy(model.train()(x_adv), y).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    path = folder / "lenet.pt"
    torch.save(model.state_dict(), path)
    return path


def frontier(bench: Bench, trials: int, *, quick: bool) -> None:
    """The exact frontier of a trained sweep beside judging all of it in full, both one job at a time.

    Quick: on a quarter of the images, and with trials that are trained half as long.
    """
    import sweeps

    root = Path(tempfile.mkdtemp())
    space = HERE.parent / "search_spaces/trades_beta.yaml"
    fewer = ["judge.images.validation=100", "trial.schedule.epochs=15"] if quick else []
    unjudged = Sweep.from_yaml(space, overrides=[f"search.trials={trials}", "judge.trials=none", *fewer])
    if not sweeps.run(unjudged, root / "trained", "local", write=lambda line: None):
        raise KeyboardInterrupt  # it stops in its own way
    spent: dict[str, float] = {}
    members: dict[str, list[int]] = {}
    for way in ("frontier", "all"):
        folder = root / way
        shutil.copytree(root / "trained", folder)
        sweep = unjudged.model_copy(update={"judge": unjudged.judge.model_copy(update={"trials": way})})
        with Record(folder, sweep.objectives) as record:
            Local().run(Sized(_Validation(sweep, record), Share(1.0, 0.0), print))
            snapshot = record.snapshot()
            members[way] = snapshot.members[-1].trials
            spent[way] = sum(_seconds(record.judgements(trial.number)) for trial in snapshot.trials)
            if way == "frontier":
                unavoidable = sum(_seconds(record.judgements(number)) for number in members[way])
    assert members["frontier"] == members["all"], "pruning changed the frontier"
    case = f"{trials} trials"
    bench.row(case, "members", len(members["all"]))
    bench.row(case, "unavoidable: members in full", unavoidable, unit="s")
    bench.row(case, "exact frontier", spent["frontier"], unit="s", ratio=round(spent["frontier"] / unavoidable, 3))
    bench.row(case, "everything in full", spent["all"], unit="s", ratio=round(spent["all"] / unavoidable, 3))
    bench.target("frontier-over-unavoidable", spent["frontier"] / unavoidable, 1.25)


class _Validation(Judging):
    """Judging that ends when the members are fixed: test is not this benchmark's business."""

    def __init__(self, sweep: Sweep, record: Record) -> None:
        super().__init__(sweep, record, lambda event: None, session="bench", training=lambda: False)

    def _start(
        self, key: tuple[int, Any], trial: TrialRecord, *, randomised: bool = False, square_early: bool = False
    ) -> None:
        if key[1] != "test":
            super()._start(key, trial, randomised=randomised, square_early=square_early)


def _seconds(folder: Path) -> float:
    return sum(
        float(shard.info["seconds"])
        for inside in folder.glob("validation-*")
        for shard in read_shards(inside, ("apgd-ce", "apgd-t", "fab-t", "square"))
    )


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that are always at work, with one thread each and nothing in memory. They end with this process,
    however it ends: `timeout` and schedulers kill it, and a loop that nobody ends takes a core for ever.
    """
    work = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(1000))"
    others = [subprocess.Popen([sys.executable, "-c", work, str(os.getpid())]) for _ in range(count)]  # noqa: S603
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about a minute: fewer images, trials and repeats")
    parser.add_argument("--busy", action="store_true", help="beside a process for each core that is always at work")
    parser.add_argument(
        "--mnist", type=Path, default=HERE.parent.parent / "shared/data/mnist", help="train.npz, test.npz"
    )
    parser.add_argument("--images", type=Path, help="for the case images: a folder with train/CLASS and test/CLASS")
    parser.add_argument(
        "--cases",
        default="digits,mnist,frontier",
        help="which of digits, mnist, frontier; images where --images is given",
    )
    options = parser.parse_args()
    cases = options.cases.split(",")
    bench = Bench(
        "-".join(["judge", *([] if len(cases) == 3 else cases), *(["busy"] if options.busy else [])]), options.quick
    )
    cuda = torch.cuda.device_count()
    devices = [f"cuda:{index}" for index in range(cuda)] or ["cpu", "cpu"]
    work = Path(tempfile.mkdtemp())
    with neighbours(cores() if options.busy else 0):
        measure(bench, cases, options, work, devices, "-busy" if options.busy else "")
    bench.close()


def measure(
    bench: Bench, cases: list[str], options: argparse.Namespace, work: Path, devices: list[str], company: str
) -> None:
    """The cases that are asked for. `company` ends the names of those whose numbers mean another thing beside others."""
    if "images" in cases and options.images is not None:
        folder = ImageFolder(path=str(options.images), validation=1000)
        trained = resnet_trial(work / "images", folder, quick=options.quick)
        judge = Judge(data=folder, threat=Threat(eps=8 / 255), images=JudgeImages(test=50 if options.quick else 500))
        one_model(bench, f"images-preact_resnet18{company}", trained, None, judge, 1, devices)
    if "digits" in cases:
        trained = digits_trial(work / "digits")
        judge = Judge(
            data=Digits(validation=400),
            threat=Threat(eps=0.12),
            images=JudgeImages(test=100 if options.quick else "all"),
        )
        one_model(bench, f"digits{company}", trained, None, judge, 1 if options.quick else 3, devices)
    if "mnist" in cases and options.mnist.is_dir() and not options.quick:
        data = Mnist(path=str(options.mnist), validation=1000)
        threat = Threat(eps=0.15)
        path = mnist_lenet(work, data, threat, 16_000)
        judge = Judge(data=data, threat=threat, images=JudgeImages(test=300))
        one_model(bench, f"mnist-lenet{company}", path, f"{HERE / '_lenet.py'}:lenet", judge, 1, devices)
    if "frontier" in cases:
        frontier(bench, 8 if options.quick else 24, quick=options.quick)


if __name__ == "__main__":
    main()
