"""Where a model comes from, how it was trained, and on which images it was chosen, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from robustray.attacks.threats import in_255ths
from robustray.derived import point
from robustray.exporting.judged import sweep_of
from robustray.subjects import Classifier, exported
from robustray.training import checkpoints
from robustray.trial import TrialConfig

_SECTIONS = ("defense", "update", "averaging", "optimiser", "schedule", "curriculum", "attack")
"""Sections of a trial that its card names."""


def told(
    model: Classifier, spec: str, home: Path | None, judgements: Sequence[Mapping[str, Any]]
) -> tuple[str, list[str]]:
    """Where a model comes from and what chose it; of an export, what it says itself."""
    if home is not None and exported.there(home):
        about = exported.about(home)
        return about["source"], about["chosen"]
    return source(model, spec, home), chosen(model, home, judgements)


def source(model: Classifier, spec: str, home: Path | None) -> str:
    """`trial 7 of the sweep trades_beta`; `checkpoint last.pt of a trial`; else what it was named by."""
    sweep = sweep_of(home)
    if home is not None and sweep is not None:
        kind = "derived point" if (home / point.FILE).is_file() else "trial"
        return f"{kind} {home.absolute().name.lstrip('0') or '0'} of the sweep {sweep.name}"
    if model.trial is not None:
        return f"trial {model.name}"
    return spec if home is None and not spec.startswith("/") else Path(spec).name


def words(part: BaseModel) -> str:
    """A part's name and what of its options is not the default: `trades (beta 6)`, `one_cycle (epochs 30, lr 0.2)`."""
    fields = type(part).model_fields
    other = {
        key: value for key, value in part if key in fields and key != "name" and value != fields[key].get_default()
    }
    shown = {key: value for key, value in other.items() if not isinstance(value, str) or "/" not in value}  # no paths
    name, told = getattr(part, "name", ""), ", ".join(f"{key} {_value(value)}" for key, value in shown.items())
    return f"{name} ({told})" if told else name


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        return words(value) or ", ".join(f"{key} {_value(inner)}" for key, inner in value if inner is not None)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def architecture(model: Classifier) -> str:
    """The network with the options that are not the default: `wide_resnet (depth 34)`."""
    return model.architecture if model.trial is None else words(model.trial.model)


def training(trial: TrialConfig) -> Iterator[tuple[str, str]]:
    """What a trial was trained with, section by section: `("defense", "trades (beta 6)")`."""
    resolved, threat = trial.resolved(), trial.training_threat
    yield "data", f"{trial.judge.data.name}, {trial.judge.data.validation} training images held out for validation"
    yield "threat in training", f"{threat.norm}, eps {in_255ths(threat.eps)}"
    for section in _SECTIONS:
        part = getattr(resolved, section)
        if part is not None:
            yield section, words(part)
    yield (
        "batch",
        ", ".join(
            [f"{trial.batch.size} images", *(words(each) for each in trial.batch.augment)]
            + ([f"mixed with {words(trial.batch.mix)}"] if trial.batch.mix else [])
        ),
    )
    yield "precision", trial.precision
    yield "seed", str(trial.seed)
    if trial.model.source is not None:
        begun = trial.model.source if trial.model.source.startswith("zoo:") else Path(trial.model.source).name
        yield "begun from", begun


def chosen(model: Classifier, home: Path | None, judgements: Sequence[Mapping[str, Any]]) -> list[str]:
    """By what and on which images the weights, and the model among others, were chosen; a sentence each."""
    said = []
    trial = model.trial
    if trial is not None:
        if trial.checkpoints.select == "last":
            said.append("The weights are those of the last epoch: no image chose among checkpoints.")
        else:
            epoch = _best(home)
            said.append(
                f"The weights are those of the epoch{epoch} with the highest accuracy under a cheap attack on the tune images, "
                "which are part of validation."
            )
    if sweep_of(home) is None:
        return [*said, *_unknown(model)]
    judge = model.judge
    assert judge is not None
    alike = "the same list as the tune images" if judge.one_list else "disjoint from the tune images"
    said.append(f"The options were searched on validation; models were compared on its judge list, {alike}.")
    if any(each["split"] == "test" for each in judgements):
        said.append("It is a member of the sweep's frontier, which validation chose; test was read once, after that.")
    else:
        said.append(
            "Test was not read for it: the sweep reads test for its frontier's members alone, once they are fixed."
        )
    return said


def _best(home: Path | None) -> str:
    state = None if home is None else checkpoints.load_last(home)[0]
    return f" {int(state['best']['epoch'])}" if state is not None and state.get("best") else ""


def _unknown(model: Classifier) -> list[str]:
    if model.trial is not None:
        return ["Whether its options were chosen, and on which images, is not known here: it belongs to no sweep."]
    return ["How it was trained, and what chose it, is not known here."]
