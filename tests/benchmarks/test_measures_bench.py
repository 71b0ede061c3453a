"""The plain loops beside our measures: as many passes as the papers' scripts take, and the same quantity."""

from __future__ import annotations

import copy

import pytest
import torch
from _plain_measures import PLAIN

from robustray.measures.base import Measure
from robustray.measures.taking import take
from robustray.registry import parts
from robustray.testing.derived import trained
from robustray.testing.measures import Passes, ground

STEPS = {"steps": 3, "restarts": 2}


def measure(name: str) -> Measure:
    options = {"steps": 3} if name == "lipschitz" else {"attack": STEPS} if name == "robust_loss" else {}
    made = parts("measure")[name].model_validate({"name": name, **options})
    assert isinstance(made, Measure)
    return made


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("lipschitz", 3 * 6 + 2),  # two forwards a step, gradients to weights and image through both
        ("robust_loss", 1 + 2 * (4 * 3 + 1)),  # steps + 1 iterates with gradients, one more look; clean images once
    ],
)
def test_a_plain_loop_takes_what_the_script_takes(name: str, passes: int) -> None:
    count, asked = [0], measure(name)
    network = copy.deepcopy(trained(0)).requires_grad_(True)
    torch.manual_seed(0)
    found = PLAIN[name](ground(Passes(network, count), 24), asked)
    assert count[0] == 24 * passes
    ours = take(asked, ground(images=24))
    assert found == pytest.approx(ours.value, rel=0.2), "starts differ, the quantity does not"
