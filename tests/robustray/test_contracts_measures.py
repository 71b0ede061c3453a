"""Every measure keeps its contracts."""

from __future__ import annotations

from robustray.measures.base import Measure
from robustray.testing import Contract
from tests.robustray.made import kept


@kept("measure")
def test_contract_of_measures(contract: Contract, part: Measure) -> None:
    contract(part)
