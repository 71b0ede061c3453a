"""Public implementations of adversarial training, each run from a checkout as its own loop runs a batch.

A checkout is named by its path; it is imported, never changed. All get our network, so that only training code differs:
they wrap theirs in nn.DataParallel, which is left out. What they import and no training step calls may be missing here.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from robustray.attacks import Pgd
from robustray.defenses import Trades
from robustray.errors import UserError, nearest
from robustray.training.optimisers import Sgd
from robustray.trial import TrialConfig

Step = Callable[[Tensor, Tensor], Tensor | float]
"""From images [B, C, H, W] and labels [B] to the loss, the weights changed."""


@dataclass(frozen=True)
class Reference:
    """One implementation.

    Attributes:
        defense: what of it is measured.
        file: tells a checkout of it from other folders.
        documented: the fastest setting that its README, options or scripts offer.
        benchmark: whether that has cuDNN time its kernels.
        bind: makes its step for a network in training mode and a trial's options.
    """

    defense: str
    file: str
    documented: str
    benchmark: bool
    bind: Callable[[nn.Module, TrialConfig], Step]

    def step(self, checkout: Path, model: nn.Module, config: TrialConfig) -> Step:
        """A step of the checkout's code on `model`."""
        if next(model.parameters()).device.type == "cpu":  # they call .cuda() on noise, whatever the images lie on
            torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
        sys.path.insert(0, str(checkout))
        return self.bind(model.train(), config)


def checkouts(texts: list[str]) -> dict[str, Path]:
    """Folders by name, of `NAME=PATH` each.

    Raises:
        UserError: a name is unknown or given twice, or a folder holds something else.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise UserError(f"--reference {text}: must look like NAME=PATH, one of {', '.join(REFERENCES)}")
        if name not in REFERENCES:
            raise UserError(f"--reference {text}: there is no reference {name!r}; {nearest(name, REFERENCES)}")
        if name in found:
            raise UserError(f"--reference {text}: {name} is given twice")
        if not (Path(path) / REFERENCES[name].file).is_file():
            raise UserError(f"--reference {text}: is no checkout of {name}, which has a file {REFERENCES[name].file}")
        found[name] = Path(path).resolve()
    return found


@dataclass(frozen=True)
class _Options:
    eps: float
    steps: int
    step_size: float
    beta: float
    sgd: dict[str, Any]

    @classmethod
    def of(cls, config: TrialConfig) -> _Options:
        threat, attack, defense, optimiser = (
            config.training_threat, config.training_attack, config.defense, config.optimiser
        )  # fmt: skip
        if not isinstance(attack, Pgd) or not isinstance(optimiser, Sgd) or threat.norm != "linf":
            raise UserError("references are run with pgd in linf and sgd; set no others")
        sgd = optimiser.model_dump(include={"momentum", "nesterov", "weight_decay"})
        return cls(
            threat.eps,
            attack.steps,
            attack.step_size.within(threat.eps),
            defense.beta if isinstance(defense, Trades) else 0.0,
            {"lr": config.schedule.lr, **sgd},
        )


def _missing(package: str, *inside: str) -> None:
    """Empty modules in place of a package that is not installed."""
    if importlib.util.find_spec(package) is None:
        sys.modules.update({name: MagicMock() for name in (package, *inside)})


def _trades(model: nn.Module, config: TrialConfig) -> Step:
    trades_loss, options = importlib.import_module("trades").trades_loss, _Options.of(config)
    optimiser = torch.optim.SGD(model.parameters(), **options.sgd)

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimiser.zero_grad()
        loss: Tensor = trades_loss(
            model=model,
            x_natural=x,
            y=y,
            optimizer=optimiser,
            step_size=options.step_size,
            epsilon=options.eps,
            perturb_steps=options.steps,
            beta=options.beta,
        )
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.detach()

    return step


def _imrahulr(model: nn.Module, config: TrialConfig) -> Step:
    """Its trainer without the row that it appends to a table every step, by a method that pandas dropped."""
    _missing("autoattack", "autoattack.autopgd_pt")
    # torch had it once, and DeepFool there imports it
    vars(importlib.import_module("torch.autograd.gradcheck")).setdefault("zero_gradients", None)
    core, options = importlib.import_module("core.utils"), _Options.of(config)
    module = importlib.import_module("core.utils.train")
    vars(module)["create_model"] = lambda *_: model
    words = {
        "desc": "benchmark",
        "num-adv-epochs": 0,  # no schedule
        "beta": options.beta,
        "attack-eps": options.eps,
        "attack-step": options.step_size,
        "attack-iter": options.steps,
        "lr": options.sgd["lr"],
        "weight-decay": options.sgd["weight_decay"],
        "nesterov": options.sgd["nesterov"],
    }
    arguments = core.parser_train().parse_args([f"--{key}={value}" for key, value in words.items()])
    trainer = module.Trainer({}, arguments)

    def step(x: Tensor, y: Tensor) -> Tensor:
        loss: Tensor = trainer.trades_loss(x, y, beta=arguments.beta)[0]
        loss.backward()  # type: ignore[no-untyped-call]
        trainer.optimizer.step()
        return loss.detach()

    return step


def _mair(model: nn.Module, config: TrialConfig) -> Step:
    """Its trainer, the part of `fit` between two batches."""
    _missing("matplotlib", "matplotlib.pyplot", "matplotlib.pylab")
    mair, options = importlib.import_module("mair"), _Options.of(config)
    robust = mair.RobModel(model, n_classes=config.judge.data.classes)
    trainer = mair.TRADES(robust, eps=options.eps, alpha=options.step_size, steps=options.steps, beta=options.beta)
    trainer.setup(optimizer=f"SGD({', '.join(f'{key}={value}' for key, value in options.sgd.items())})", n_epochs=1)

    def step(x: Tensor, y: Tensor) -> float:
        trainer._init_dicts_record_save()
        robust.train()
        trainer._update_weight((x, y))
        return float(trainer.dict_record["Loss"])

    return step


def _rice(model: nn.Module, config: TrialConfig) -> Step:
    """Its script's loop with `--attack pgd`, the pass and the sums that it logs included."""
    module, options = importlib.import_module("train_cifar"), _Options.of(config)
    vars(module)["normalize"] = lambda x: x  # the network's first layer does
    optimiser, criterion = torch.optim.SGD(model.parameters(), **options.sgd), nn.CrossEntropyLoss()

    def step(x: Tensor, y: Tensor) -> float:
        delta = module.attack_pgd(model, x, y, options.eps, options.step_size, options.steps, 1, "l_inf").detach()
        robust = model(torch.clamp(x + delta, 0, 1))
        loss: Tensor = criterion(robust, y)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        clean = model(x)
        logged = loss.item(), criterion(clean, y).item(), *((z.max(1)[1] == y).sum().item() for z in (robust, clean))
        return float(logged[0])

    return step


_NOTHING_FASTER = "float32 as its script; nothing faster documented"

REFERENCES = {
    "trades": Reference("trades", "trades.py", _NOTHING_FASTER, False, _trades),
    "imrahulr": Reference("trades", "core/utils/trades.py", "float32; cudnn.benchmark", True, _imrahulr),
    "mair": Reference("trades", "mair/defenses/advtraining/trades.py", _NOTHING_FASTER, False, _mair),
    "rice": Reference("adversarial", "train_cifar.py", _NOTHING_FASTER, False, _rice),
}
"""The TRADES authors' code; a framework around it and its follow-ups; a library; Rice et al.'s adversarial training."""
