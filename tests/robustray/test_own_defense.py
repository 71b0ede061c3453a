"""The defense of docs/howto/own_defense.md, registered late, keeps every contract, and trials take it by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustray import plugins, registry
from robustray.defenses import Defense
from robustray.testing import Contract, check, contracts
from robustray.training import Trainer
from robustray.trial import TrialConfig
from tests.plugged import fresh, page
from tests.robustray.made import JUDGE, trial

__all__ = ["fresh"]


@pytest.fixture
def own(tmp_path: Path, fresh: None) -> type[Defense]:
    """The page's defense, for one test: `robustray.trial` and all of its parts were there before."""
    (tmp_path / "my_defense.py").write_text(page("my_defense.py"))
    plugins.named(["my_defense.py"], tmp_path)
    cls = registry.parts("defense")["mixture"]
    assert issubclass(cls, Defense)
    return cls


@pytest.mark.parametrize(
    "contract", [pytest.param(each, id=each.name) for kind in ("part", "defense") for each in contracts(kind)]
)
def test_it_keeps_the_contract_of_every_defense(contract: Contract, own: type[Defense]) -> None:
    part = own(name="mixture")
    assert contract.asked_of(part)
    contract(part)


def test_check_finds_nothing(own: type[Defense]) -> None:
    results = check(own)
    assert len(results) == len(contracts("part")) + len(contracts("defense"))
    assert [result for result in results if not result.passed] == []


def test_trials_take_it_by_its_name(own: type[Defense]) -> None:
    config = TrialConfig.model_validate({"judge": JUDGE, "defense": {"name": "mixture", "weight": 0.25}})
    assert type(config.defense) is own
    with pytest.raises(ValueError, match=r"defense.mixture.weight"):
        TrialConfig.model_validate({"judge": JUDGE, "defense": {"name": "mixture", "weight": 2}})


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("batch", [{"label_noise": 0.5}, {"label_smoothing": 0.2}, {"augment": ["cutmix"]}])
def test_its_loss_sees_noise_smoothing_and_mixed_labels(batch: dict[str, Any], tmp_path: Path) -> None:
    weights = [
        Trainer(trial(defense="mixture", batch={"size": 400} | options), tmp_path / str(number), device="cpu").run()
        for number, options in enumerate((batch, {}))
    ]
    assert weights[0]["weights"] != weights[1]["weights"]
