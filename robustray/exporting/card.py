"""The card of a model, README.md of an export: a head that model hubs read, and everything a reader needs to use it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from robustray.attacks.threats import in_255ths
from robustray.exporting import origin
from robustray.exporting.programs import Compared
from robustray.subjects import Classifier

CARD, FIGURE = "README.md", "frontier.png"
_HUBS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "svhn": "ufldl-stanford/svhn",
    "tiny_imagenet": "zh-plus/tiny-imagenet",
}
"""Data sources by the names under which a hub keeps them."""


@dataclass(frozen=True)
class Told:
    """What a card says."""

    model: Classifier
    data: str  # name of the images
    shape: Sequence[int]  # [C, H, W]
    classes: int
    source: str
    judgements: Sequence[Mapping[str, Any]]
    chosen: Sequence[str]
    program: Compared | str  # why there is none
    files: Sequence[str]
    notes: Sequence[str]
    figure: bool


def text(told: Told) -> str:
    """The whole card, Markdown under a head of YAML."""
    return "\n".join([*_head(told), *_body(told)]) + "\n"


def _head(told: Told) -> Iterator[str]:
    data: dict[str, Any] = {"name": told.data, "type": _HUBS.get(told.data, told.data)}
    results: list[dict[str, Any]] = [
        {
            "task": {"type": "image-classification"},
            "dataset": {**data, "split": each["split"]},
            "metrics": [
                {"type": "accuracy", "name": "clean accuracy", "value": round(100 * each["clean_accuracy"], 2)},
                {
                    "type": "accuracy",
                    "name": f"robust accuracy, {_judge(each)}, {_threat(each)}",
                    "value": round(100 * each["robust_accuracy"], 2),
                },
            ],
        }
        for each in told.judgements
        if each["split"] == "test"
        and not each["flags"]  # no number travels without its doubt, nor one that chose the model
    ]
    head: dict[str, Any] = {
        "pipeline_tag": "image-classification",
        "library_name": "pytorch",
        "tags": ["adversarial-robustness", "robustray", told.model.architecture],
    }
    if told.data in _HUBS:
        head["datasets"] = [_HUBS[told.data]]
    if results:
        head["model-index"] = [{"name": told.model.name, "results": results}]
    yield "---"
    yield yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip()
    yield "---"


def _body(told: Told) -> Iterator[str]:
    model = told.model
    channels, height, width = told.shape
    yield f"\n# {model.name}\n"
    yield (
        f"A classifier of images of {told.data} into {told.classes} classes: `{origin.architecture(model)}`, {told.source}. "
        f"It takes pixels [B, {channels}, {height}, {width}] in [0, 1], normalises them itself, and gives logits "
        f"[B, {told.classes}]."
    )
    yield f"\nWeights: SHA-256 of names, shapes, types and values `{model.weights}`."
    yield from _accuracies(told)
    if told.figure:
        yield f"\n![The sweep's frontier, this model marked]({FIGURE})"
    yield "\n## What chose it\n"
    yield from (f"- {sentence}" for sentence in told.chosen)
    if model.trial is not None:
        yield "\n## How it was trained\n"
        yield "All options stand in `trial.yaml`; of those that are not the default:\n"
        yield "| | |\n|---|---|"
        yield from (f"| {name} | {what} |" for name, what in origin.training(model.trial))
    yield from _loading(told)


def _accuracies(told: Told) -> Iterator[str]:
    yield "\n## Accuracy\n"
    if not told.judgements:
        yield (
            "Not judged: no finished judgement of these weights was found. `python -m robustray judge FOLDER --split test` "
            "judges this folder."
        )
        return
    yield "| split | images | clean, % | robust, % | threat | judged by | flags |\n|---|---|---|---|---|---|---|"
    for each in told.judgements:
        cells = [
            each["split"],
            str(each["images"]),
            _percent(each, "clean"),
            _percent(each, "robust"),
            _threat(each),
            _judge(each),
            ", ".join(each["flags"]) or "none",
        ]
        yield f"| {' | '.join(cells)} |"
    yield "\nIn brackets: 95 % Wilson intervals over the drawing of images."
    if all(each["split"] != "test" for each in told.judgements):
        yield "These are validation images, which may have chosen the model: expect less on others. It was not judged on test."
    doubts = {name: what for each in told.judgements for name, what in each["flags"].items()}
    if doubts:
        yield "\n**In doubt.** The robust accuracy of a flagged model may be too high:\n"
        yield from (f"- `{name}`: {what}." for name, what in sorted(doubts.items()))
    yield from (f"\n{warning}" for warning in dict.fromkeys(w for each in told.judgements for w in each["warnings"]))


def _loading(told: Told) -> Iterator[str]:
    yield "\n## Loading it\n"
    if isinstance(told.program, str):
        yield (
            f"This model has no program that stands alone: {told.program}. It needs the package robustray: "
            "`robustray.subjects.load(FOLDER)`."
        )
    else:
        yield "`load.py` needs torch and safetensors alone:\n"
        yield "```python\nfrom load import load\n\nlogits = load()(pixels)\n```"
        yield f"\nAgainst the network it came from its logits are {told.program.logits:.1e} of the largest apart, at most."
        if told.program.gradients is False:
            yield "Its gradients are **not** those of the network, which writes some by itself: attack the original."
    yield from (f"\n{note}" for note in told.notes)
    yield "\nFiles: " + ", ".join(f"`{name}`" for name in told.files) + "."


def _percent(each: Mapping[str, Any], what: str) -> str:
    low, high = (100 * end for end in each[f"{what}_interval"])
    return f"{100 * each[f'{what}_accuracy']:.2f} [{low:.2f}, {high:.2f}]"


def _threat(each: Mapping[str, Any]) -> str:
    return f"{each['threat']['norm']}, eps {in_255ths(each['threat']['eps'])}"


def _judge(each: Mapping[str, Any]) -> str:
    return "AutoAttack" if each["autoattack"] else f"{each['version']} (not AutoAttack)"
