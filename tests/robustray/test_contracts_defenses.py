"""Every defense keeps its contracts, and every option of it shows in the trial that is run."""

from __future__ import annotations

import yaml

from robustray.defenses import Defense
from robustray.registry import parts
from robustray.testing import Contract
from robustray.trial import TrialConfig
from tests.robustray.made import kept, trial


@kept("defense")
def test_contract(contract: Contract, part: Defense) -> None:
    contract(part)


def test_different_requests_are_different_trials() -> None:
    """Every option that is asked for is in the trial that is run, whichever defense it is of, and reads back the same."""
    requests: dict[str, Defense] = {}
    for name, cls in parts("defense").items():
        assert issubclass(cls, Defense)
        for option, field in cls.model_fields.items():
            for value in (field.default, 0.123, 1, 7, True, "all", "others", "total", "js", "lp"):
                try:
                    requests.setdefault(f"{name}.{option}={value if value != field.default else 'default'}",
                                        cls.model_validate({option: value}))  # fmt: skip
                except ValueError:
                    continue  # not a value of this option
    different = set(requests.values())
    assert len(different) > 30
    seen = {}
    for defense in different:
        text = trial(defense=defense).to_yaml()
        assert text not in seen
        seen[text] = defense
        assert TrialConfig.model_validate(yaml.safe_load(text)).defense == defense
