"""A step of adversarial training beside public implementations, each in a process of its own, in turn.

    python benchmarks/train.py --reference trades=PATH --reference imrahulr=PATH --reference mair=PATH --reference rice=PATH

Same network, weights, optimiser, batch, attack steps and eps; references have it in float32 and NCHW, as their scripts do.
Images are random pixels: time does not depend on what they show. Images/s are of the median step of all rounds; the spread
is the range of the steps over their median. Two ratios stand side by side. At the same precision, where bf16 of a reference
is its step with our network under autocast. And to the reference at the fastest setting that it documents: on a CPU that is
float32 for all of them, so it is measured once; on a GPU it is torch as it comes, with TF32 in convolutions, and
cudnn.benchmark for those that set it. Without a reference the other side is our own plain path. rice has no TRADES and is
measured on adversarial training. Utilisation is the FLOP/s that a lean step needs (ours, counted) over those of the
fastest large product or convolution on this machine.

On a CPU batches are of 16; the papers' 128 take 5 to 15 s a step on two cores: `--batch 128 --repeats 1` is five minutes.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Bench
from _comparison import PRECISIONS, Contender, Measured, add_targets, ratios, settings
from _contender import CEILING, FLOPS, OURS, PLAIN, Order
from _references import REFERENCES, checkouts
from pydantic import ValidationError

from robustray.devices import pick_device
from robustray.errors import UserError
from robustray.options.mistakes import mistakes
from robustray.options.yaml import Document, Place
from robustray.trial import TrialConfig
from sweeps.space.overrides import override

HERE = Path(__file__).parent
STEPS = {"cpu": (1, 2), "cuda": (5, 20)}
"""Steps of a process before its clock counts, and those that it counts."""
BATCH = {"cpu": 16, "cuda": 128}
VALIDATION = 10


class Contest:
    """What is measured with one set of options.

    Args:
        options: of the command line.
        work: an empty folder.

    Raises:
        UserError: an option is wrong.
    """

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        paths, device = checkouts(options.reference), pick_device(options.device)
        precisions = options.precision.split(",")
        if unknown := [each for each in precisions if each not in PRECISIONS]:
            raise UserError(f"--precision {options.precision}: {unknown[0]!r} is none of {', '.join(PRECISIONS)}")
        self.device, self.work, self.options = device.type, work, options
        self.place = str(device)
        self.batch = options.batch or (4 if options.quick and self.device == "cpu" else BATCH[self.device])
        self.defenses = list(dict.fromkeys(REFERENCES[name].defense for name in paths)) or ["trades"]
        self.steps = (1, 1) if options.quick else STEPS[self.device]
        images = (sum(self.steps) + 1) * self.batch  # a batch too many: training stops inside its epoch
        write_images(work / "images.npz", images)

        ways = dict(_setting(text) for text in options.ours) or {each: [f"precision={each}"] for each in precisions}
        self.orders: dict[Contender, Order] = {}
        self.failed: dict[Contender, str] = {}
        for defense in self.defenses:
            for setting, overrides in ways.items():
                order = self.order(OURS, defense, overrides)
                contender = Contender(OURS, defense, setting, order.config.precision, note="augmentation included")
                self.orders[contender] = order
        for name, path in paths.items():
            for contender in settings(name, [] if options.quick else precisions, self.device):
                self.orders[contender] = self.order(
                    name,
                    contender.defense,
                    [],
                    checkout=str(path),
                    precision=contender.precision,
                    documented=contender.documented,
                )
        if not paths:
            plain = Contender(PLAIN, "trades", "fp32", "fp32", True, "our step in NCHW, not compiled")
            self.orders[plain] = self.order(PLAIN, "trades", [])

    def order(self, who: str, defense: str, overrides: Iterable[str], **more: Any) -> Order:
        """An order for a process: the trial that all have in common, with some values replaced."""
        options, images = self.options, str(self.work / "images.npz")
        base = template(images, defense, options.model, self.batch, options.steps)
        config = trial(base, [*options.set, *overrides])
        folder = tempfile.mkdtemp(dir=self.work)
        return Order(who, config.model_dump(mode="json"), self.place, folder, *self.steps, **more)

    def lean(self) -> dict[str, float]:
        """Operations per image of a plain step of each defense, counted on two images."""
        orders = {defense: self.order(FLOPS, defense, ["batch.size=2"]) for defense in self.defenses}
        return {defense: measure(order, "count of operations")["value"] for defense, order in orders.items()}

    def ceilings(self) -> dict[str, float]:
        """FLOP/s of a large product at each precision that contenders have."""
        precisions = dict.fromkeys(contender.precision for contender in self.orders)
        orders = {each: Order(CEILING, {}, self.place, "", precision=each) for each in precisions}
        return {each: measure(order, f"product of matrices, {each}")["value"] for each, order in orders.items()}

    def rounds(self, count: int) -> dict[Contender, Measured]:
        """So many rounds of all contenders, one after the other; of those that did not fail until somebody stopped it."""
        found: dict[Contender, Measured] = {}
        try:
            for number, contender in itertools.product(range(count), self.orders):
                if contender not in self.failed:
                    self._measure(contender, found, f"round {number + 1} of {count}")
        except KeyboardInterrupt:
            print("stopped; what was measured until now:", file=sys.stderr)
        return {contender: found[contender] for contender in self.orders if contender in found}

    def _measure(self, contender: Contender, found: dict[Contender, Measured], when: str) -> None:
        name = f"{contender.who}, {contender.setting}, {contender.defense}"
        try:
            answer = measure(self.orders[contender], name)
        except UserError as error:  # the others' minutes are not lost
            self.failed[contender] = str(error)
            found.pop(contender, None)
            print(f"{when}: {error}", file=sys.stderr)
            return
        result = found.setdefault(contender, Measured())
        result.seconds += answer["seconds"]
        result.memory, result.loss = max(result.memory, answer["memory"]), answer["loss"]
        print(f"{when}: {name}: {max(answer['seconds']):.2f} s a step", file=sys.stderr)


def template(images: str, defense: str, model: str, batch: int, steps: int) -> dict[str, Any]:
    """What all contenders train: the published settings on 32x32 pixels, at a rate that random labels do not blow up."""
    return {
        "judge": {
            # test is never read: a sweep would, once its members are fixed
            "data": {"name": "npz", "train": images, "test": images, "validation": VALIDATION},
            "threat": {"norm": "linf", "eps": 8 / 255},
        },
        "batch": {"size": batch, "augment": ["crop", "flip"]},
        "model": {"name": model},
        # Rice et al. attack in training mode, the others in eval mode: batch norm's passes differ
        "attack": {"steps": steps, "step_size": 2 / 255, "mode": "train" if defense == "adversarial" else "eval"},
        "defense": {"name": defense},
        "averaging": {"name": "none"},  # the references' scripts do not average
        "optimiser": {"name": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 2e-4},
        "schedule": {"name": "constant", "lr": 0.01, "epochs": 1},
        "precision": "fp32",
    }


def trial(base: dict[str, Any], overrides: Iterable[str]) -> TrialConfig:
    """The trial with single values replaced, `model.width=8`.

    Raises:
        UserError: an override fits nowhere.
    """
    document = Document(copy.deepcopy(base), {(): Place(0, "train.py")})
    for text in overrides:
        override(document, text)
    try:
        return TrialConfig.model_validate(document.value)
    except ValidationError as error:
        raise document.error(mistakes(error, TrialConfig)) from None


def write_images(path: Path, count: int) -> None:
    """So many training images of CIFAR-10's shape and classes, and some to validate on."""
    count += VALIDATION
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(count) % 10)


def measure(order: Order, name: str) -> dict[str, Any]:
    """What a process answers to its order.

    Raises:
        UserError: it failed; with its last line, after all of its lines were printed.
    """
    command = [sys.executable, "-B", str(HERE / "_contender.py"), order.text()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        last = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UserError(f"{name} failed: {last[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run(options: argparse.Namespace) -> None:
    """Measures, prints the table and the targets, and writes the CSV.

    Raises:
        UserError: an option is wrong, or a contender failed.
    """
    others = [] if options.model == "preact_resnet18" else [options.model]
    others += [f"batch-{options.batch}"] if options.batch else []
    bench = Bench("-".join(["train", *others]), options.quick)
    with tempfile.TemporaryDirectory() as work:
        contest = Contest(options, Path(work))
        lean, ceilings = contest.lean(), contest.ceilings()
        found = contest.rounds(1 if options.quick else options.repeats)
    batch = contest.batch
    speeds = {contender: result.speed(batch) for contender, result in found.items()}
    cases = {defense: f"{defense}-{options.steps} {options.model}" for defense in contest.defenses}
    for defense, needed in lean.items():
        bench.row(cases[defense], "operations per image of a lean step", needed / 1e9, unit="GFLOP")
    for precision, most in ceilings.items():
        bench.row(f"product, {precision}", "ceiling", most / 1e9, unit="GFLOP/s")
    for contender, result in found.items():
        utilisation = lean[contender.defense] * speeds[contender] / ceilings[contender.precision]
        bench.row(
            cases[contender.defense],
            f"{contender.who}, {contender.setting}",
            speeds[contender],
            unit="images/s",
            spread_percent=round(result.spread, 1),
            memory_mib=round(result.memory),
            utilisation=round(utilisation, 3),
            loss=round(result.loss, 3),
            batch=batch,
            steps=len(result.seconds),
            note=contender.note,
        )
    for ours in (each for each in found if each.who == OURS):
        for who in dict.fromkeys(each.who for each in found if each.defense == ours.defense and each.who != OURS):
            same, documented = ratios(ours, speeds, who)
            bench.row(
                cases[ours.defense],
                f"ours, {ours.setting} over {who}",
                same,
                unit="times, same precision",
                documented=round(documented, 3),
                batch=batch,
            )
    if (options.model, options.steps, options.set) == ("preact_resnet18", 10, []):
        add_targets(bench, speeds, contest.device)
    bench.close()
    if contest.failed:
        raise UserError("; ".join(contest.failed.values()))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    several: dict[str, Any] = {"action": "append", "default": []}
    line.add_argument("--reference", **several, metavar="NAME=PATH", help=f"a checkout of {', '.join(REFERENCES)}")
    line.add_argument(
        "--ours",
        **several,
        metavar="NAME=KEY=VALUE",
        help="a setting of ours, values of the trial with spaces between them; default: --precision alone",
    )
    line.add_argument("--set", **several, metavar="KEY=VALUE", help="a value of everybody's trial: model.width=8")
    line.add_argument("--model", choices=("preact_resnet18", "wide_resnet"), default="preact_resnet18")
    line.add_argument("--batch", type=_count, help="images per step; default: 16 on a CPU, 128 on a GPU")
    line.add_argument("--steps", type=_count, default=10, help="steps of the attack")
    line.add_argument("--repeats", type=_count, default=3, help="rounds, each with a new process of every contender")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda:0 ...")
    line.add_argument("--precision", default="fp32,bf16", help=f"of ours and references: {', '.join(PRECISIONS)}")
    line.add_argument(
        "--quick",
        action="store_true",
        help="about a minute, two with all references: one round of one step, batches of 4 on a CPU, "
        "references as documented",
    )
    return line


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 whether targets are met or not, 2 for a mistake of the user."""
    try:
        run(parser().parse_args(arguments))
    except UserError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _setting(text: str) -> tuple[str, list[str]]:
    name, equals, overrides = text.partition("=")
    if not name or not equals:
        raise UserError(f"--ours {text}: must look like best='precision=bf16'")
    return name, overrides.split()


if __name__ == "__main__":
    sys.exit(main())
