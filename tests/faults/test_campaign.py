"""A few rounds of the campaign, others every day, and what its table promises."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults import campaign
from tests.faults.kinds import KINDS

ROUNDS = 6


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_rounds_of_today(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The seed is the day, and stands in what a failure prints."""
    seed = int(f"{datetime.now(UTC):%Y%m%d}")
    words = [
        "--rounds",
        str(ROUNDS),
        "--seed",
        str(seed),
        "--home",
        str(tmp_path / "rounds"),
        "--out",
        str(tmp_path / "t.csv"),
    ]
    ill = campaign.main(words)
    assert not ill, f"seed {seed}:\n{capsys.readouterr().out}"
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert len(rows) == 1 + ROUNDS


def test_every_kind_says_what_has_to_come_of_it_and_is_drawn_as_often_as_any_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert campaign.main(["--list"]) == 0
    told = capsys.readouterr().out
    assert all(kind.name in told and kind.expected in told for kind in KINDS)
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    local = [kind for kind in KINDS if kind.backend == "local"]
    drawn = campaign.drawn(3 * len(local), 7)
    assert sorted(kind.name for kind in drawn) == sorted(3 * [kind.name for kind in local])
    assert drawn == campaign.drawn(3 * len(local), 7)
    assert campaign.drawn(len(local), 8) != drawn[: len(local)]
    with pytest.raises(SystemExit, match="no such kind: flood"):
        campaign.drawn(1, 0, ["flood"])
