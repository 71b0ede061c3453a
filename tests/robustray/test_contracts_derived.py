"""Every maker of derived points keeps its contracts."""

from __future__ import annotations

from robustray.derived import Maker
from robustray.testing import Contract
from tests.robustray.made import kept


@kept("derive")
def test_contract_of_makers(contract: Contract, part: Maker) -> None:
    contract(part)
