"""Stratified lists: in proportion, disjoint, and the same for ever."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.data import Digits
from robustray.data.splits import stratified
from robustray.errors import UserError
from robustray.seeding import derive

JUDGE_7 = [1, 3, 6, 13, 14, 15, 23]
VALIDATION_7 = [0, 3, 9, 11, 13, 16, 23]
DIGITS_TEST = "6c22c0ea1771fda6"
ATTACK_0 = 8919039336158796299
ORDER_12_3 = 528026151839241971


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], int]:
    labels = draw(st.lists(st.integers(0, 6), max_size=120))
    return labels, draw(st.integers(0, len(labels)))


@given(cases(), st.sampled_from(["judge", "validation", ""]))
def test_stratified(case: tuple[list[int], int], purpose: str) -> None:
    labels, count = np.array(case[0], dtype=np.int64), case[1]
    chosen, rest = stratified(labels, count, purpose)
    assert chosen.dtype == rest.dtype == np.int64
    assert len(chosen) == count
    assert sorted([*chosen.tolist(), *rest.tolist()]) == list(range(len(labels)))
    assert chosen.tolist() == sorted(chosen.tolist())
    assert rest.tolist() == sorted(rest.tolist())
    for label in np.unique(labels):
        ideal = (labels == label).sum() * count / len(labels)
        assert abs((labels[chosen] == label).sum() - ideal) < 1 + 1e-9
    again = stratified(labels.copy(), count, purpose)
    assert again[0].tolist() == chosen.tolist()


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 2**31))
def test_names_of_classes_do_not_matter(labels: list[int], seed: int) -> None:
    """With the same rows in each class, in the same order of classes, the same rows are chosen."""
    count = len(labels) // 2
    first = stratified(np.array(labels), count, "judge")[0]
    assert stratified(np.array(labels) * 7 + 3, count, "judge")[0].tolist() == first.tolist()


def test_never_changes() -> None:
    """Written out: a benchmark's split that changes in silence makes every earlier number another benchmark's."""
    labels = np.array([0, 1, 2] * 8)
    assert stratified(labels, 7, "judge")[0].tolist() == JUDGE_7
    assert stratified(labels, 7, "validation")[0].tolist() == VALIDATION_7
    digest = hashlib.sha256(Digits(validation=400).load("test").images.tobytes()).hexdigest()
    assert digest[:16] == DIGITS_TEST


def test_purposes_are_independent() -> None:
    labels = np.zeros(2000, dtype=np.int64)
    one, other = (set(stratified(labels, 1000, purpose)[0].tolist()) for purpose in ("judge", "validation"))
    assert 440 < len(one & other) < 560  # half of them, by chance


def test_a_longer_list_holds_the_shorter() -> None:
    """With one class: the order is fixed, the count only says where to stop."""
    labels = np.zeros(50, dtype=np.int64)
    lists = [set(stratified(labels, count, "judge")[0].tolist()) for count in range(51)]
    assert all(a < b for a, b in itertools.pairwise(lists))


def test_more_than_there_are() -> None:
    with pytest.raises(UserError, match="6 images asked for the judge list, but there are 5"):
        stratified(np.zeros(5, dtype=np.int64), 6, "judge")


def test_seeds_never_change() -> None:
    """The streams of every trial ever run hang on these."""
    assert derive(0, "attack") == ATTACK_0
    assert derive(12, "order", 3) == ORDER_12_3


@given(st.lists(st.one_of(st.integers(), st.text(st.characters(exclude_characters="/"), max_size=5)), max_size=4))
def test_seeds_fit_torch(path: list[object]) -> None:
    assert 0 <= derive(*path) < 2**63
    assert derive(*path) != derive(*path, "more")
