"""Whether speed costs accuracy: the fast ways of training beside the plain one, over seeds.

    python benchmarks/accuracy.py [--quick] [--seeds 5] [--ways bf16,compiled] [--device cpu]

TRADES on scikit-learn's digits with PreActResNet-18 of 8 channels, batch norm and all: final clean and PGD accuracy on the test
images of float32 without compilation, and of each faster way. A way passes where its mean is off the plain one's by at most
the plain one's range over seeds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from _bench import Bench

from robustray.data.device import DeviceImages
from robustray.devices import pick_device
from robustray.measures.accuracy import accuracies
from robustray.subjects.trial import load_model
from robustray.training import Trainer
from robustray.trial import TrialConfig

WAYS: dict[str, dict[str, str]] = {
    "plain": {"precision": "fp32", "compile": "off"},
    "tf32": {"precision": "tf32", "compile": "off"},
    "bf16": {"precision": "bf16", "compile": "off"},
    "compiled": {"precision": "bf16", "compile": "default"},
}


def trained(way: str, seed: int, epochs: int, device: str) -> tuple[float, float]:
    """Clean and PGD accuracy on test of one trial."""
    config = TrialConfig.model_validate(
        {
            "judge": {"data": {"name": "digits", "validation": 400}, "threat": {"eps": 0.12}},
            "seed": seed,
            "batch": {"size": 100},
            "model": {"name": "preact_resnet18", "width": 8},
            "attack": {"steps": 5, "step_size": {"of_eps": 0.4}},
            "defense": {"name": "trades", "beta": 4.0},
            "averaging": {"name": "ema", "decay": 0.98},
            "schedule": {"name": "one_cycle", "epochs": epochs, "lr": 0.1},
            "checkpoints": {"validate_every": epochs},
            **WAYS[way],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        Trainer(config, Path(folder), device=device).run()
        _, model, _ = load_model(Path(folder), device)
    test = DeviceImages(config.judge.data.load("test"), pick_device(device))
    return accuracies(model, test, config.judge.cheap.bind(config.judge.threat))


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="about a minute: three seeds of few epochs")
    line.add_argument("--seeds", type=int, default=5, help="trials of each way")
    line.add_argument("--ways", default="bf16", help=f"of {', '.join(list(WAYS)[1:])}")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda")
    options = line.parse_args()
    seeds, epochs = (3, 2) if options.quick else (options.seeds, 12)
    device = str(pick_device(options.device))
    bench = Bench("accuracy", options.quick)
    found = {
        way: [trained(way, seed, epochs, device) for seed in range(seeds)]
        for way in ("plain", *options.ways.split(","))
    }
    for number, name in enumerate(("clean", "pgd")):
        plain = [each[number] for each in found["plain"]]
        for way, runs in found.items():
            values = [each[number] for each in runs]
            bench.row(
                way, f"{name} accuracy", statistics.mean(values), least=min(values), most=max(values), seeds=seeds
            )
            if way != "plain":
                off = abs(statistics.mean(values) - statistics.mean(plain))
                bench.target(f"{way}-{name}-within-spread", off, round(max(plain) - min(plain), 4))
    bench.close()


if __name__ == "__main__":
    main()
