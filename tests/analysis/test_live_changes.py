"""What is new on a page since another state of it: enough to make the newer one, and no more than that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import page, report
from analysis.live import changes
from tests.analysis import made as the

_LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False, width=16) | st.text("ab", max_size=2)
)
_JSON = st.recursive(
    _LEAVES,
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(st.text("abc", max_size=2), inside, max_size=4),
    max_leaves=20,
)


def _made(old: Any, difference: dict[str, Any]) -> Any:
    """What the page does with a difference (`page_live_patch.js`)."""
    if "is" in difference:
        return difference["is"]
    if "put" in difference:
        at = difference["at"]
        return [*old[:at], *difference["put"], *old[at + difference["out"] :]]
    if isinstance(old, list):
        return [
            _made(each, difference["in"][str(at)]) if str(at) in difference["in"] else each
            for at, each in enumerate(old)
        ]
    kept = {key: value for key, value in old.items() if key not in difference["gone"]}
    return kept | {key: _made(old.get(key), each) for key, each in difference["in"].items()}


@given(_JSON, _JSON)
def test_a_difference_makes_the_newer_value_of_the_older_one(old: Any, new: Any) -> None:
    difference = changes.delta(old, new)
    if difference is None:
        assert json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)
    else:
        told = json.loads(json.dumps(difference))
        assert json.dumps(_made(old, told), sort_keys=True) == json.dumps(new, sort_keys=True)
    assert changes.delta(old, json.loads(json.dumps(old))) is None


def test_one_more_point_is_sent_alone() -> None:
    old = {"data": [{"x": list(range(1000)), "name": "a"}, {"x": [1.5]}]}
    new = {"data": [{"x": [*range(500), -1, *range(500, 1000)], "name": "a"}, {"x": [1.5]}]}
    inside = {"in": {"x": {"at": 500, "out": 0, "put": [-1]}}, "gone": []}
    assert changes.delta(old, new) == {"in": {"data": {"in": {"0": inside}, "gone": []}}, "gone": []}


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The page of a sweep whose members are not fixed yet, and of the same sweep with six trials more."""
    folder = tmp_path_factory.mktemp("results")
    pages = [
        report.live(the.sweep(folder / f"{trials}" / "s", trials=trials, fix=False, trained=True))
        for trials in (18, 24)
    ]
    return pages[0]["index.html"], pages[1]["index.html"]


def test_a_page_is_cut_into_all_that_is_on_it(states: tuple[str, str]) -> None:
    """Nothing shown is outside a piece: it would stay as it was."""
    text = states[1]
    cut = changes.cut(text)
    assert cut is not None
    assert list(cut.rows) == [str(number) for number in range(the.TRIALS)]
    assert [*cut.pieces][:: len(cut.pieces) - 1] == ["header", "footer"]
    left = text[text.index("<body") : text.index("<aside")] + text[text.index("<footer") : text.index("<script type")]
    for each in cut.rows.values():
        assert text.count(each) == 1
        left = left.replace(each, "")
    for each in cut.pieces.values():
        assert left.count(each) == 1
        left = left.replace(each, "")
    assert "".join(left.split()) == '<bodydata-state=""><main></main>'
    assert the.SCRIPT not in "".join(cut.pieces.values())


def test_what_is_alike_is_not_sent(states: tuple[str, str]) -> None:
    old, new = map(changes.cut, states)
    assert old is not None
    assert new is not None
    found = changes.changes(old, new)
    assert set(found["pieces"]) < set(new.pieces)
    assert not {"terms", "cards"} & set(found["pieces"])
    assert found["rows"] == list(new.rows)
    assert set(found["changed"]) >= {"18", "23"}
    same = changes.changes(new, new)
    assert same == {"order": list(new.pieces), "pieces": {}, "rows": None, "changed": {}, "data": None}
    everything = changes.changes(None, new)
    assert everything["pieces"] == new.pieces
    assert everything["changed"] == new.rows
    assert everything["data"] == {"is": new.data}


def test_a_page_with_nothing_to_draw_has_no_state(tmp_path: Path) -> None:
    assert changes.cut(page.blank(tmp_path, "Not begun.")) is None
