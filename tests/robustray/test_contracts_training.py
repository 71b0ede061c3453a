"""Every schedule, averaging, curriculum, optimiser and update keeps its contracts."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from robustray.testing import Contract
from robustray.training import Averaging, Curriculum, Optimiser, Schedule, Update
from robustray.training.average import Average
from robustray.training.averaging import Ema
from tests.robustray.made import Boom, batch, kept, network, state


@kept("schedule")
def test_contract_of_schedules(contract: Contract, part: Schedule) -> None:
    contract(part)


@kept("averaging")
def test_contract_of_averagings(contract: Contract, part: Averaging) -> None:
    contract(part)


@kept("curriculum")
def test_contract_of_curricula(contract: Contract, part: Curriculum) -> None:
    contract(part)


@kept("optimiser")
def test_contract_of_optimisers(contract: Contract, part: Optimiser) -> None:
    contract(part)


@kept("update")
def test_contract_of_updates(contract: Contract, part: Update) -> None:
    contract(part)


class Twice(nn.Module):
    """A network that uses a normalisation layer twice in a pass, as plug-ins may."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2, momentum=0.3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(2 * self.norm(x) + 3)  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", [network(), Twice()], ids=["once", "twice"])
def test_estimated_statistics_are_means_over_all_passes(model: nn.Module) -> None:
    """As torch has them for `momentum=None`, which asks the device at every pass."""
    batches = [batch(seed=seed)[0] for seed in range(4)]
    wanted = copy.deepcopy(model).eval()
    for norm in (module for module in wanted.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for x in batches:
        wanted(x)
    average = Average(model, Ema())
    average.estimate(batches)
    for name, value in state(wanted).items():
        torch.testing.assert_close(average.model.state_dict()[name], value)

    def failing() -> Iterator[Tensor]:
        yield batches[0]
        raise Boom

    before = [module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with pytest.raises(Boom):
        average.estimate(failing())
    norms = [module for module in average.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == before
    assert not any(norm._forward_pre_hooks for norm in norms)
