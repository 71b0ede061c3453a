"""Numbers of the authors' own code: adversarial examples, losses, gradients, batch norm's buffers, modes of the passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray import Step
from robustray.attacks import Pgd, Threat
from robustray.attacks.base import Outputs
from robustray.attacks.losses import Onto, smoothed
from robustray.defenses import Adversarial, Defense, Llr, Mart, Rst, Score, ScorePgd, Trades, Tulip
from tests.conftest import Golden
from tests.robustray.golden import RENORM, TRADES_L2, bound, close, from_noise, norm_of, tiny

Read = Callable[[str], Golden]

BATCH_STATISTICS = {"mode": "train_frozen"}
IMAGES = 8  # of every batch: what a sum over one is to a mean


@dataclass(frozen=True)
class Case:
    """One setting of one original, and what it is called here.

    Args:
        slack: what an original that renormalises may differ by, relative.
        scale: the original's loss as a multiple of ours: a sum over the batch where ours is a mean.
        smoothing: of labels, which the original rounds to float32: they are given to the defense as targets.
        forwards: how the original's passes compare with ours. `equal`: as many, each in the same mode, on the clean images
            or not, buffers alike. `reordered`: as many in the same modes, the two of the loss the other way round. `more`.
    """

    file: str
    variant: str
    defense: Defense
    options: dict[str, Any] = field(default_factory=dict)
    slack: float = 0
    scale: float = 1
    smoothing: float = 0
    onto: Onto = "others"
    forwards: Literal["equal", "reordered", "more"] = "equal"


LLR = {"projection": "box_ball"}
LLR_LINF = LLR | {"step_rule": "max_abs"}
CASES = [
    Case("01_trades_yaodongyu", "linf", Trades(beta=6), forwards="more"),
    Case("01_trades_yaodongyu", "l2", Trades(beta=6), TRADES_L2, RENORM, forwards="more"),
    Case("01_trades_yaodongyu", "l2_small", Trades(beta=6), TRADES_L2, RENORM, forwards="more"),
    Case("01b_trades_imrahulr", "core_linf", Trades(beta=6)),
    Case("01b_trades_imrahulr", "gowal_ls0_linf", Trades(beta=6), BATCH_STATISTICS),
    Case("01b_trades_imrahulr", "gowal_ls01_linf", Trades(beta=6), BATCH_STATISTICS, smoothing=0.1, onto="all"),
    Case(
        "01b_trades_imrahulr",
        "gowal_ls01_l2",
        Trades(beta=6),
        TRADES_L2 | BATCH_STATISTICS,
        RENORM,
        smoothing=0.1,
        onto="all",
    ),
    Case("02_mart", "linf", Mart(beta=5)),
    Case("03_at_pgd", "linf", Adversarial()),
    Case("03_at_pgd", "l2", Adversarial(), {"projection": "box_ball"}),
    Case("03_at_pgd", "l2_small", Adversarial(), {"projection": "box_ball"}),
    Case("03_at_pgd", "linf_keep_clean", Adversarial(keep_clean=True)),
    Case("04_score_lse", "lse_trades_linf_ls0", Score(beta=4), BATCH_STATISTICS),
    Case("04_score_lse", "lse_trades_linf_ls1", Score(beta=4), BATCH_STATISTICS, smoothing=0.1),
    Case(
        "04_score_lse",
        "lse_trades_linf_ls1_clip",
        Score(beta=4, clip=math.sqrt(0.02 * 0.9)),
        BATCH_STATISTICS,
        smoothing=0.1,
    ),
    Case("04_score_lse", "lse_trades_l2_ls1", Score(beta=4), TRADES_L2 | BATCH_STATISTICS, RENORM, smoothing=0.1),
    Case("04_score_lse", "lse_pgdat_ls0", ScorePgd(), {"mode": "train"}),
    Case("04_score_lse", "lse_pgdat_ls1", ScorePgd(), {"mode": "train"}, smoothing=0.1),
    Case(
        "04_score_lse", "lse_trades_eval_attack_ls1", Score(beta=4, clips="total"), smoothing=0.1, forwards="reordered"
    ),
    Case("05_trades_lolip", "linf", Trades(beta=6 / IMAGES), scale=IMAGES, forwards="more"),
    Case("05_trades_lolip", "linf_sum", Trades(beta=6), scale=IMAGES, forwards="more"),
    Case("05_trades_lolip", "l2", Trades(beta=6 / IMAGES), TRADES_L2, RENORM, scale=IMAGES, forwards="more"),
    Case("05_trades_lolip", "linf_default_schedule", Trades(beta=6 / IMAGES), scale=IMAGES, forwards="more"),
    # LLR as released: the gradient to the input is zeroed before it is used, and RST is left
    Case("06_llr", "linf", Rst(lam=4), LLR_LINF, RENORM, scale=IMAGES, forwards="more"),
    Case("06_llr", "linf_sum", Rst(lam=4), LLR_LINF, RENORM, scale=IMAGES, forwards="more"),
    Case("06_llr", "linf_steps", Rst(lam=4), LLR_LINF, RENORM, scale=IMAGES, forwards="more"),
    Case("06_llr", "l2", Rst(lam=4), LLR, RENORM, scale=IMAGES, forwards="more"),
    Case("07_tulip", "default", Tulip(lam=1, h=1), scale=IMAGES),
    Case("07_tulip", "small_step", Tulip(lam=1, h=0.1), scale=IMAGES),
    Case("07_tulip", "weak", Tulip(lam=0.1, h=0.1), scale=IMAGES),
    Case("08_rst_advbeta", "linf", Rst(lam=2), {"mode": "train"}, scale=IMAGES),
    Case("08_rst_advbeta", "linf_steps", Rst(lam=2), {"mode": "train"}, scale=IMAGES),
    Case("08_rst_advbeta", "l2", Rst(lam=2), {"mode": "train", "projection": "box_ball"}, scale=IMAGES),
]


class Run:
    """One step of ours on an original's batch, from its start: what went through the model, x', the loss, gradients."""

    def __init__(
        self,
        numbers: Golden,
        group: str,
        defense: Defense,
        *,
        dtype: torch.dtype = torch.float64,
        smoothing: float = 0,
        onto: Onto = "others",
        rounded: bool = True,
        **options: Any,
    ) -> None:
        name = group.split("/")[0]
        self.model = tiny(numbers, f"{name}/w", norm=name == "bn", dtype=dtype)
        self.images: list[Tensor] = []
        self.modes: list[bool] = []
        self.model.register_forward_pre_hook(self._note)
        self.x, y = torch.from_numpy(numbers[f"{name}/x"]).to(dtype), torch.from_numpy(numbers[f"{name}/y"])
        if f"{group}/set/epsilon" in numbers:
            attack, start = bound(group, numbers, **options), from_noise(group, numbers, self.x).to(dtype)
        else:  # the original attacks nothing
            attack, start = Pgd().bind(Threat(eps=0)), None
        exact = torch.float32 if rounded and onto == "others" else dtype  # the authors of SCORE make theirs in float32
        targets = smoothed(y, torch.zeros(IMAGES, 10, dtype=exact), smoothing, onto).to(dtype) if smoothing else None
        step = Step(self.model, self.x, y, attack, start=start, targets=targets, labels=y)
        self.x_adv = defense.perturb(step)
        self.perturbing = len(self.images)
        self.loss = defense.loss(step, self.x_adv).total
        self.loss.backward()  # type: ignore[no-untyped-call]

    def _note(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images.append(inputs[0].detach().clone())
        self.modes.append(model.training)


def both_models(test: Any) -> Any:
    return pytest.mark.parametrize("name", ["plain", "bn"])(test)


@both_models
@pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.file.split('_')[0]}-{case.variant}") for case in CASES])
def test_defense_equals_its_authors(case: Case, name: str, golden: Read) -> None:
    numbers, group = golden(case.file), f"{name}/{case.variant}"
    run = Run(numbers, group, case.defense, smoothing=case.smoothing, onto=case.onto, **case.options)
    out = {
        key.removeprefix(f"{group}/out/"): value for key, value in numbers.items() if key.startswith(f"{group}/out/")
    }

    if "attack_iterates" in out:
        iterates = torch.stack(run.images[run.perturbing - len(out["attack_iterates"]) : run.perturbing])
        assert np.abs(iterates.numpy() - out["attack_iterates"]).max() <= 1e-10 + case.slack
    if "x_adv" in out:
        assert np.abs(run.x_adv.numpy() - out["x_adv"]).max() <= 1e-10 + case.slack
    assert close(case.scale * run.loss, out["loss"], case.slack)
    for parameter, weight in run.model.named_parameters():
        assert weight.grad is not None
        assert close(case.scale * weight.grad, out[f"grad/{parameter}"], case.slack), parameter

    modes = out["forward_train_flags"].astype(bool).tolist()
    if case.forwards == "more":  # the lean form needs fewer
        assert len(run.modes) < len(modes)
        return
    assert run.modes == modes
    if case.forwards == "reordered":
        return
    if "forward_is_clean_x" in out:
        assert [torch.equal(images, run.x) for images in run.images] == out["forward_is_clean_x"].astype(bool).tolist()
    for buffer, value in run.model.named_buffers():
        np.testing.assert_allclose(value.numpy(), out[f"buf_after/{buffer}"], rtol=1e-10 + case.slack)


@both_models
@pytest.mark.parametrize(
    ("variant", "defense", "options"),
    [
        ("lse_trades_linf_ls1", Score(beta=4), BATCH_STATISTICS),
        ("lse_pgdat_ls1", ScorePgd(), {"mode": "train"}),
    ],
)
def test_smoothing_of_score_but_for_rounding(
    variant: str, defense: Defense, options: dict[str, Any], name: str, golden: Read
) -> None:
    numbers, group = golden("04_score_lse"), f"{name}/{variant}"
    run = Run(numbers, group, defense, smoothing=0.1, rounded=False, **options)
    assert close(run.loss, numbers[f"{group}/out/loss"], 2e-7)


@both_models
def test_mart_meets_both_kinds_of_adversarial_examples(name: str, golden: Read) -> None:
    """Misclassified ones and others: the most likely wrong class is the first of the one and the second of the other."""
    numbers = golden("02_mart")
    count = int(numbers[f"{name}/linf/out/n_adv_misclassified"])
    assert 0 < count < IMAGES


@both_models
@pytest.mark.parametrize("variant", ["linf", "linf_sum", "linf_steps", "l2"])
def test_llr_passes_are_those_of_the_script(name: str, variant: str, golden: Read) -> None:
    """Its numbers are not LLR's, but how it goes about them is: once x, the attack, and x and x + d in training mode."""
    numbers, group = golden("06_llr"), f"{name}/{variant}"
    run = Run(numbers, group, Llr())
    assert run.modes == numbers[f"{group}/out/forward_train_flags"].astype(bool).tolist()
    clean = numbers[f"{group}/out/forward_is_clean_x"].astype(bool).tolist()
    assert [torch.equal(images, run.x) for images in run.images] == clean


@both_models
@pytest.mark.parametrize("variant", ["linf_grad_kept", "l2_grad_kept", "linf_sum_grad_kept"])
def test_llr_as_the_script_meant_it(name: str, variant: str, golden: Read) -> None:
    """With its gradient kept it climbs, and adds, the mean inner product over all pairs of images: no defense of ours.

    What it is made of is: the attack, the gradient to the input that the objective of LLR holds, and cross-entropy.
    """
    numbers, group = golden("06_llr"), f"{name}/{variant}"
    model = tiny(numbers, f"{name}/w", norm=name == "bn").eval()
    x, y = torch.from_numpy(numbers[f"{name}/x"]), torch.from_numpy(numbers[f"{name}/y"])
    x_grad = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_grad), y, reduction="sum"), x_grad)
    assert close(gradient, numbers[f"{group}/out/inner_gradient"])

    def pairs(d: Tensor) -> Tensor:
        return (d.flatten(1) @ gradient.flatten(1).T).mean()

    def deviation(outputs: Outputs, x_adv: Tensor) -> Tensor:
        return (F.cross_entropy(outputs.logits, y, reduction="sum") - pairs(x_adv - x)).abs()

    rule = {} if norm_of(group) == "l2" else {"step_rule": "max_abs"}
    attack = bound(group, numbers, projection="box_ball", **rule)
    x_adv = Step(model, x, y, attack, start=from_noise(group, numbers, x)).attack(deviation)
    assert np.abs(x_adv.numpy() - numbers[f"{group}/out/x_adv"]).max() <= RENORM

    model.train()
    clean, robust = (F.cross_entropy(model(images), y, reduction="sum") for images in (x, x_adv))
    slope = (IMAGES if "sum" in variant else 1) * pairs(x_adv - x)
    loss = clean + 4 * (robust - pairs(x_adv - x)).abs() + 3 * slope
    assert close(loss, numbers[f"{group}/out/loss"], RENORM)


@both_models
@pytest.mark.parametrize("variant", ["default", "small_step", "weak"])
def test_tulip_looks_along_the_gradient(name: str, variant: str, golden: Read) -> None:
    numbers, group = golden("07_tulip"), f"{name}/{variant}"
    lam, h = (numbers[f"{group}/set/{key}"].item() for key in ("lambd", "step_size"))
    run = Run(numbers, group, Tulip(lam=lam, h=h))
    assert close(run.images[1], numbers[f"{group}/out/x_forward_difference_point"])
    assert close((run.images[1] - run.x) / h, numbers[f"{group}/out/direction"])


@both_models
@pytest.mark.parametrize("variant", ["default", "small_step", "weak"])
def test_tulip_that_the_script_descends(name: str, variant: str, golden: Read) -> None:
    """Its natural term counts twice: half of lam at twice the learning rate."""
    numbers, group = golden("07_tulip"), f"{name}/{variant}"
    lam, h = (numbers[f"{group}/set/{key}"].item() for key in ("lambd", "step_size"))
    run = Run(numbers, group, Tulip(lam=lam / 2, h=h))
    for parameter, weight in run.model.named_parameters():
        assert weight.grad is not None
        assert close(2 * IMAGES * weight.grad, numbers[f"{group}/out/grad_in_optimizer/{parameter}"])


@both_models
@pytest.mark.parametrize("variant", ["linf", "linf_steps", "l2"])
def test_a_step_of_rst(name: str, variant: str, golden: Read) -> None:
    """The weights after plain SGD on the sum over a batch: its rate is ours times the batch size."""
    numbers, group = golden("08_rst_advbeta"), f"{name}/{variant}"
    projection = "box_ball" if norm_of(group) == "l2" else "nearest"
    run = Run(numbers, group, Rst(lam=2), mode="train", projection=projection)
    torch.optim.SGD(run.model.parameters(), lr=IMAGES * numbers[f"{group}/set/sgd_lr"].item()).step()
    for parameter, weight in run.model.named_parameters():
        assert close(weight, numbers[f"{group}/out/w_after_sgd/{parameter}"]), parameter


@both_models
def test_rst_in_float32(name: str, golden: Read) -> None:
    """As the original runs it; the sign of a gradient near zero may differ, in a pixel or two."""
    numbers, group = golden("08_rst_advbeta"), f"{name}/linf_float32"
    run = Run(numbers, group, Rst(lam=2), dtype=torch.float32, mode="train")
    assert (np.abs(run.x_adv.numpy() - numbers[f"{group}/out/x_adv"]) > 1e-4).sum() <= 2
    assert IMAGES * run.loss.item() == pytest.approx(numbers[f"{group}/out/loss"].item(), rel=1e-4)
