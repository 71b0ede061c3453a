"""Numbers of the authors' own code: loss, gradients, adversarial examples, averages, AutoAttack's flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from robustray.attacks import Pgd, Threat
from robustray.attacks.norms import Norm
from robustray.attacks.pgd import StepSize
from robustray.training import Ema
from robustray.training.average import Average
from tests.conftest import Golden
from tests.robustray.golden import RENORM, bound, close, from_noise, tiny

Read = Callable[[str], Golden]


@pytest.mark.parametrize("name", ["plain", "bn"])
@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("awp_pgd_linf_eval", {}),
        ("awp_pgd_linf_train", {"mode": "train"}),
        ("awp_pgd_linf_2restarts", {"restarts": 2}),
        ("awp_pgd_l2", {"projection": "ball_box"}),
    ],
)
def test_pgd_equals_that_of_awp(name: str, variant: str, options: dict[str, Any], golden: Read) -> None:
    """The original spends one forward more, on the loss at the end, which moves batch norm's buffers in training mode."""
    numbers, group = golden("03_at_pgd"), f"{name}/{variant}"
    model = tiny(numbers, f"{name}/w", norm=name == "bn")
    x, y = torch.from_numpy(numbers[f"{name}/x"]), torch.from_numpy(numbers[f"{name}/y"])
    x_adv = bound(group, numbers, **options)(model, x, y, start=from_noise(group, numbers, x))
    slack = RENORM if "l2" in variant else 0
    assert np.abs((x_adv - x).numpy() - numbers[f"{group}/out/delta"]).max() <= 1e-10 + slack
    model.train("train" in variant)(x_adv)
    for buffer, value in model.named_buffers():
        np.testing.assert_allclose(value.numpy(), numbers[f"{group}/out/buf_after/{buffer}"], rtol=1e-10)


def test_ema_decay_table(golden: Read) -> None:
    table = golden("13_ema")["decay_table/warmup__global_step__decay"]
    found = [Ema(decay=0.995, warmup=warmup).decay_at(int(step)) for warmup, step, _ in table.tolist()]
    np.testing.assert_allclose(found, table[:, 2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", ["warmup0", "warmup2", "warmup2p5"])
def test_ema_weights(variant: str, golden: Read) -> None:
    numbers = golden("13_ema")
    model = tiny(numbers, "bn/w", norm=True)
    average = Average(model, Ema(decay=0.995, warmup=numbers[f"bn/{variant}/set/warmup_steps"].item()))
    for t in range(1, 1 + numbers[f"bn/{variant}/set/update_steps"].item()):
        trajectory = f"bn/model_trajectory/step{t}"
        model.load_state_dict({name: torch.from_numpy(numbers[f"{trajectory}/{name}"]) for name in model.state_dict()})
        average.update(t)
        for name, weight in average.model.named_parameters():
            assert close(weight, numbers[f"bn/{variant}/step{t}/wa_after/{name}"]), (t, name)
    for name, buffer in average.model.named_buffers():
        np.testing.assert_allclose(buffer.numpy(), numbers[f"bn/{variant}/wa_buf_after_epoch/{name}"], rtol=1e-10)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_is_as_strong_as_autoattack(norm: Norm, golden: Read) -> None:
    """Toward each wrong class once, PGD leaves as many images as targeted APGD; what validates in training, a few more."""
    numbers = golden("12_autoattack")
    model = tiny(numbers, "w", norm=False, dtype=torch.float32)
    x, y = torch.from_numpy(numbers["x"]), torch.from_numpy(numbers["y"])
    group = norm.capitalize()
    threat = Threat(norm=norm, eps=numbers[f"{group}/set/eps"].item())

    def left(attack: Pgd) -> int:
        x_adv = attack(model, x, y, threat, generator=torch.Generator().manual_seed(0))
        return int((model(x_adv).argmax(1) == y).sum())

    expected = int(numbers[f"{group}/individual/robust_flags_apgd-t"].sum())
    assert abs(left(Pgd(loss="dlr-targeted", restarts=9, steps=40, step_size=StepSize(of_eps=0.1))) - expected) <= 3
    assert expected <= left(Pgd(loss="margin", steps=20)) <= expected + 8
