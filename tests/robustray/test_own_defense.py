"""The defense of docs/howto/own_defense.md, registered late, keeps every contract, and trials take it by its name."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from robustray import registry
from robustray.defenses import Defense
from robustray.testing import Contract, check, contracts
from robustray.training import Trainer
from robustray.trial import TrialConfig
from tests.robustray.made import JUDGE, trial

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "own_defense.md"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Defense]:
    """The page's defense, for one test: `robustray.trial` and all of its parts were there before."""
    found = re.search(r"^```python\n(# robustray/defenses/mixture.py\n.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert found
    path = tmp_path / "mixture.py"
    path.write_text(found[1])
    registry.parts("defense")
    monkeypatch.setitem(registry._PARTS, "defense", dict(registry._PARTS["defense"]))
    spec = importlib.util.spec_from_file_location("mixture", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mixture", module)
    spec.loader.exec_module(module)
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
