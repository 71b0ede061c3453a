"""Two different requests are never the same training: they train to different weights, or one of them is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from robustray.defenses import Defense
from robustray.models import SmallCnn
from robustray.registry import kinds, parts
from robustray.training import Update
from tests.robustray.combinations import pairwise
from tests.robustray.made import made
from tests.robustray.requests import BASE, changed, read, small_network, weights

LONG: dict[str, Any] = {"epochs": 6, "lr": 0.1}
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    **{("schedule", name): LONG for name in parts("schedule")},
    ("schedule", "cyclic"): LONG | {"cycles": 2},
    ("schedule", "late"): LONG | {"milestones": [0.2, 0.6]},
    ("schedule", "multi_step"): LONG | {"milestones": [0.2, 0.5, 0.8]},
    ("augmentation", "cutout"): {"size": 3},
    ("curriculum", "cusp"): {"translations": [1, 1, 1], "boundaries": [0.3, 0.6]},
    ("curriculum", "ramps"): {"rotation": {"first": 5, "last": 9}},
    ("curriculum", "stages"): {
        "stages": [{"rotation": 9, "eps_scale": 0.5}, {"begin": {"fraction": 0.5}, "eps_scale": 0.8}]
    },
    ("attack", "pgd"): {"step_rule": "max_abs", "start": "gaussian", "sigma": 0.05},
    ("averaging", "ema"): {"decay": 0.3},
    ("defense", "score"): {"divergence": "lp", "order": 3},
    ("defense", "score_pgd"): {"divergence": "lp", "order": 3, "clip": 0.9},
    ("update", "entropy_sgd"): {"steps": 3, "gamma": 0.1, "scoping": 0.01, "noise": 0.01},
}
"""Where an option has a say: most have one from the start, these in what another option makes of the training."""
ELSEWHERE: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "attack.pgd.density": ({"attack": {"step_rule": "sparse"}}, [0.1, 0.2, 0.9]),
    "defense.rst.unlabeled_weight": (
        {"batch": BASE["batch"] | {"mix": {"name": "pseudo_labelled", "path": "pseudo_labelled.pickle"}}},
        [0, 0.5, 1],
    ),
    "defense.score.clips": ({"defense": {"clip": 0.5}}, ["robust", "total"]),
}
"""Options that need more settings than all others of their part, and values that differ there."""
NAMES: dict[str, str] = {
    "attack.pgd.loss=kl": "TRADES climbs kl by itself",
    "mix.generated.path=": "a file of another name, which is not there",
    "mix.pseudo_labelled.path=": "a file of another name, which is not there",
}
"""Requests that say otherwise what is there already, and why."""
SKIPPED = {
    "data": "which images there are",
    "derive": "trains no trial",
    "measure": "trains no trial",
    "model": "another network has other weights from the start",
}
"""Kinds of which nothing needs to be trained to tell its options apart."""
Request = tuple[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, extra_images: None) -> None:
    monkeypatch.setattr(SmallCnn, "network", small_network)


def same(requests: Iterable[Request], folder: Path) -> list[tuple[str, str]]:
    """Requests that are taken, say different things, and train to the same weights, in pairs; a request twice is one."""
    seen: set[str] = set()
    found: dict[str, str] = {}
    pairs = []
    for number, (name, options) in enumerate(requests):
        config = read(BASE | options)
        if config is None or (text := config.to_yaml()) in seen:
            continue
        seen.add(text)
        trained = weights(config, folder / str(number))
        if trained in found:
            pairs.append((found[trained], name))
        found.setdefault(trained, name)
    assert len(seen) > 1
    return pairs


def placed(kind: str, part: dict[str, Any]) -> dict[str, Any]:
    """Options of a trial in which a part has its place."""
    if kind == "augmentation":
        return {"batch": BASE["batch"] | {"augment": [part]}}
    return {"batch": BASE["batch"] | {"mix": part}} if kind == "mix" else {kind: part}


def of_kind(kind: str) -> Iterator[Request]:
    """Every part of a kind, and each with one option changed, each other choice and another number."""
    for name, cls in parts(kind).items():
        if not getattr(made(cls), "available", True):
            continue
        settings = SETTINGS.get((kind, name), {})
        yield f"{kind}.{name}", placed(kind, made(cls, **settings).model_dump(mode="json"))
        for option, other, part in changed(cls, settings):
            what = f"{kind}.{name}.{option}={other}"
            if not any(what.startswith(known) for known in NAMES) and f"{kind}.{name}.{option}" not in ELSEWHERE:
                yield what, placed(kind, part)


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind not in SKIPPED])
def test_another_option_is_another_training(kind: str, tmp_path: Path) -> None:
    assert same([("nothing", {}), *of_kind(kind)], tmp_path) == []


@pytest.mark.parametrize("name", ELSEWHERE)
def test_an_option_that_needs_another_part_has_a_say_there(name: str, tmp_path: Path) -> None:
    kind, part, option = name.split(".")
    there, values = ELSEWHERE[name]
    requests = [(str(value), there | {kind: {"name": part, **there.get(kind, {}), option: value}}) for value in values]
    assert same(requests, tmp_path) == []


def test_options_of_a_trial_that_are_no_part(tmp_path: Path) -> None:
    batch = BASE["batch"]
    requests: list[Request] = [
        ("nothing", {}),
        ("seed", {"seed": 1}),
        ("size", {"batch": {"size": 40}}),
        ("label_noise", {"batch": batch | {"label_noise": 0.5}}),
        ("label_smoothing", {"batch": batch | {"label_smoothing": 0.1}}),
        ("smoothed_onto", {"batch": batch | {"label_smoothing": 0.1, "smoothed_onto": "others"}}),
        ("eps", {"threat": {"eps": 0.05}}),
        ("norm", {"threat": {"norm": "l2", "eps": 0.1}}),
        ("precision", {"precision": "bf16"}),
    ]
    assert same(requests, tmp_path) == []


def meetings(defense: type[Defense], update: type[Update]) -> Iterator[Request]:
    """A defense under an update, alone and with one thing more that is for one of them."""
    update_options = {"name": update.model_fields["name"].default} | ({"replays": 2} if update.own_attack else {})
    name = str(defense.model_fields["name"].default)
    pair = {"defense": name, "update": update_options, "schedule": LONG | {"epochs": 1}}
    yield "nothing", pair
    yield "attack.steps", pair | {"attack": {"steps": 3}}
    yield "attack.mode", pair | {"attack": {"mode": "train"}}
    yield "threat.eps", pair | {"threat": {"eps": 0.06}}
    for scale in ("eps_scale", "step_scale", "beta_scale"):
        yield scale, pair | {"curriculum": {"name": "stages", "stages": [{scale: 0.7}]}}
    for option, value in (("label_noise", 0.5), ("label_smoothing", 0.2)):
        yield option, pair | {"batch": BASE["batch"] | {option: value}}
    settings = SETTINGS.get(("defense", name), {})
    if settings:
        pair |= {"defense": {"name": name, **settings}}
        yield "settings", pair
    taken = set()
    for option, _, part in changed(defense, settings):
        if option not in taken and f"defense.{name}.{option}" not in ELSEWHERE:
            taken.add(option)
            yield option, pair | {"defense": part}


@pytest.mark.parametrize("update", parts("update"))
@pytest.mark.parametrize("defense", parts("defense"))
def test_a_defense_and_an_update_leave_nothing_out(defense: str, update: str, tmp_path: Path) -> None:
    one, other = parts("defense")[defense], parts("update")[update]
    assert issubclass(one, Defense)
    assert issubclass(other, Update)
    if other.own_attack and "an_adversary" not in one.demands:
        assert all(read(BASE | options) is None for _, options in meetings(one, other))
    else:
        assert same(meetings(one, other), tmp_path) == []


def test_choices_of_different_kinds_are_different_trainings(tmp_path: Path) -> None:
    """Every two of them, in few trials: pairs that are refused are not among these."""
    rows = [(str(row.id), dict(row.values[0])) for row in pairwise().args[1]]
    for _, row in rows:
        row.pop("deterministic")  # a matter of kernels, the same ones on a CPU
        row["batch"] = row["batch"] | {"size": 50}
        row["precision"] = row["precision"].replace("tf32", "fp32")  # the same on a CPU
        row["averaging"] = row["averaging"] | ({"decay": 0.3} if row["averaging"]["name"] == "ema" else {})
    assert same(rows, tmp_path) == []
