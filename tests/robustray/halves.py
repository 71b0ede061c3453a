"""`python -m tests.robustray.halves FOLDER`: two processes find the gradients of whole batches, and compare them with one's.

In float64, where nothing but a mistake tells them apart. Writes `found.json`: the largest relative difference by case.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from robustray.attacks.threats import Threat
from robustray.defenses.adversarial import Adversarial
from robustray.defenses.base import Defense
from robustray.defenses.step import Loss, Step
from robustray.models.heads import ClassLogits
from robustray.models.noise import NoiseVote
from robustray.registry import parts
from robustray.training.parts import Parts
from robustray.training.together import ALONE, Alone, Group
from robustray.training.updates import Minibatch, Plain, Update

CLASSES = 4


class Penalised(Adversarial):
    """A loss that looks at weights besides, where no image is."""

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        squares = torch.stack([weight.square().sum() for weight in step.model.parameters()]).sum()
        return Loss(**super().loss(step, x_adv).parts, decay=0.1 * squares)


class DropPath(nn.Module):
    """Stochastic depth, as libraries write it: one draw for each image, in place."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x.new_empty((len(x), *[1] * (x.ndim - 1))).bernoulli_(0.7)
        return x * kept + 0.1 * torch.rand(len(x), 1, 1, 1, dtype=x.dtype)


def network(aux: int, images: int) -> nn.Module:
    """All that looks at a whole batch: batch norm of both ranks, dropout of both kinds, draws in several ways."""
    torch.manual_seed(0)
    outputs = CLASSES + aux
    inner = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.Dropout2d(0.2), DropPath(),
        nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8, affine=False, momentum=0.3), nn.SiLU(), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(72, 16), nn.BatchNorm1d(16) if images > 1 else nn.Identity(), nn.SiLU(), nn.Linear(16, outputs),
    )  # fmt: skip
    noisy = NoiseVote(inner, torch.full((3, 1, 1), 0.05), 2, outputs)
    return nn.Sequential(noisy, *([ClassLogits(CLASSES)] if aux else [])).double()


def taken(
    group: Alone, defense: Defense, update: Update, images: int, mode: str, accumulate: int = 1
) -> dict[str, Tensor]:
    """What a step leaves: gradients, buffers, the loss, and where torch's generator stands."""
    model = network(defense.aux_outputs, images)
    x = torch.rand(images, 3, 8, 8, dtype=torch.float64)
    y = torch.randint(0, CLASSES, (images,))
    attack = defense.attack_with(None).model_copy(update={"mode": mode, "steps": 2})
    generator = torch.Generator().manual_seed(1)
    step = Step(
        group.network(model), x, y, attack.bind(Threat(eps=0.1)), generator=generator, violations=torch.tensor(False)
    )
    halves = Parts(defense, step, accumulate)

    def gradient(x_adv: Tensor) -> Loss:
        model.zero_grad(set_to_none=True)
        loss = halves.backward(x_adv)
        group.average_gradients(model.parameters())
        return loss

    def descend() -> None:
        with torch.no_grad():
            for weight in model.parameters():
                if weight.grad is not None:
                    weight.sub_(0.1 * weight.grad)

    loss = update.bind(model)(
        Minibatch(
            halves.x,
            Threat(eps=0.1),
            attack=halves.perturb,
            gradient=gradient,
            descend=descend,
            rolled_back=nullcontext,
            generator=generator,
        )
    )
    group.compare(model.state_dict().values(), [torch.get_rng_state(), generator.get_state()])
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    moved = {name: buffer.double() for name, buffer in model.named_buffers()}
    draws = torch.get_rng_state().double(), generator.get_state().double()
    return {**found, **moved, "loss": loss.total.detach(), "draws": torch.cat(draws)}


def cases() -> Iterator[tuple[str, Defense, Update, int, str, int]]:
    """Every defense, attacked in every mode; every update; batches that cannot be halved, and one that leaves none for one."""
    for name, defense in cast("dict[str, Callable[[], Defense]]", parts("defense")).items():
        for mode in ("eval", "train_frozen", "train"):
            yield f"defense {name} {mode}", defense(), Plain(), 7, mode, 1
        yield f"defense {name} few", defense(), Plain(), 2 if defense().aux_outputs else 1, "train", 1
    for name, update in cast("dict[str, Callable[[], Update]]", parts("update")).items():
        yield f"update {name}", Adversarial(), update(), 6, "eval", 1
    yield "accumulate", Adversarial(), Plain(), 6, "eval", 2
    yield "clean", Adversarial(clean_fraction=0.8), Plain(), 5, "eval", 1
    yield "penalty", Penalised(), Plain(), 6, "eval", 1


def compared(group: Group) -> dict[str, float]:
    """The largest difference of any number, relative to the largest there is of it, by case."""
    found = {}
    for name, defense, update, images, mode, accumulate in cases():
        one, two = (taken(each, defense, update, images, mode, accumulate) for each in (ALONE, group))
        assert one.keys() == two.keys()
        apart = [(one[key] - two[key]).abs().max() / one[key].abs().max().clamp_min(1e-3) for key in one]
        found[name] = float(torch.stack(apart).max())
    return found


class Own(nn.Module):
    """Draws in a way that nobody sees to: as many numbers as it has rows."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randperm(len(x))[:, None, None, None] / 1e3


def differing(group: Group) -> str:
    """What is said of processes that train different models."""
    torch.manual_seed(0)
    group.network(Own())(torch.rand(5, 1, 2, 2))
    try:
        group.compare([torch.zeros(1)], [torch.get_rng_state()])
    except RuntimeError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Rank 0, and a fork of it."""
    torch.set_num_threads(1)
    other = os.fork()
    group = Group(0 if other else 1, 2, folder / "store", torch.device("cpu"))
    found = {"differences": compared(group), "differing": differing(group)}
    group.leave()
    if not other:
        os._exit(0)
    (folder / "found.json").write_text(json.dumps(found))
    assert os.waitpid(other, 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
