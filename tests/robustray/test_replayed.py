"""No result of a network is used after it is gone: CUDA graphs write those of the next pass into the same memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import list_mode_options

from robustray.training import Trainer
from robustray.trial import TrialConfig
from tests.robustray.combinations import pairwise
from tests.robustray.made import state, trial


class Replayed(nn.Module):
    """A network whose results turn into NaN when the next pass begins, unless a backward pass is still owed to one of them.

    That is how torch's compiler lets CUDA graphs share memory: logits, gradients to images and to weights.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.given: list[Tensor] = []
        self.owed = 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.owed:
            gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
            for old in [*self.given, *gradients]:
                old.data.fill_(torch.nan)
            self.given.clear()
        logits: Tensor = self.network(_Image.apply(x, self) if x.requires_grad else x)
        self.given.append(logits.data)
        if logits.requires_grad:
            self.owed += 1
            logits.register_hook(self._paid)  # type: ignore[no-untyped-call]
        return logits

    def _paid(self, gradient: Tensor) -> None:
        self.owed -= 1


class _Image(torch.autograd.Function):
    """The image itself; the gradient to it is one of the network's results."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, network: Replayed) -> Tensor:
        ctx.network = network
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        found = gradient.clone()
        ctx.network.given.append(found.data)
        return found, None


def trained(config: TrialConfig, folder: Path, *, replayed: bool) -> dict[str, Tensor]:
    """The model after two steps: what one left behind may reach into the next."""
    trainer = Trainer(config, folder, device="cpu")
    if replayed:
        trainer.network = Replayed(trainer.network)
    with trainer.at_work():
        for batch in (0, 1):
            trainer.progress.batch_in_epoch = 1 + batch  # one_cycle and others begin low
            trainer.train_step(torch.arange(30 * batch, 30 * (batch + 1)))
    return state(trainer.model)


@pytest.mark.usefixtures("extra_images")
@pairwise()
def test_training_uses_no_result_of_a_pass_after_the_next_begins(options: dict[str, Any], tmp_path: Path) -> None:
    config = trial(**options)
    if config.defense.demands & {"second_order", "two_backwards"}:
        pytest.skip("is not recorded")
    plain, replayed = (trained(config, tmp_path / str(way), replayed=way) for way in (False, True))
    assert all(value.isfinite().all() for value in plain.values())
    assert all(torch.equal(replayed[name], plain[name]) for name in plain)


def test_two_backward_passes_are_noticed(tmp_path: Path) -> None:
    """The test above can fail."""
    assert any(value.isnan().any() for value in trained(trial(defense="tulip"), tmp_path, replayed=True).values())


@pytest.mark.parametrize(("defense", "mode"), [("trades", "max-autotune"), ("tulip", "max-autotune-no-cudagraphs")])
def test_max_records_graphs_where_it_can(
    defense: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def compiled(model: nn.Module, **options: Any) -> nn.Module:
        asked.append(options)
        return model

    monkeypatch.setattr(torch, "compile", compiled)
    Trainer(trial(defense=defense, compile="max"), tmp_path, device="cpu")
    assert asked == [{"options": list_mode_options(mode), "dynamic": False}]
