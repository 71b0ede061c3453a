"""Trains a mixing network against attacks on the whole mixture, and goes on bit for bit where it was stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.attacks.mode import attack_mode
from robustray.data.device import DeviceImages
from robustray.derived.apgd import apgd
from robustray.derived.base import Ground, Parent
from robustray.derived.mixing import Mixing
from robustray.derived.mixing_network import AdaptiveMixture, MixingNetwork, Policy
from robustray.derived.mixture import Scale
from robustray.errors import Diverged, Paused, UserError
from robustray.models.features import Featured, found
from robustray.numerics import numerics, plain_where_needed
from robustray.seeding import derive
from robustray.training import checkpoints
from robustray.verdicts import fingerprint

Scales = tuple[float, float]


def network_of(bases: Sequence[nn.Module], options: Mixing, x: Tensor) -> tuple[list[Featured], MixingNetwork]:
    """The bases with their maps, and a network for them; weights from torch's global generator.

    Args:
        x: some images that the bases take.

    Raises:
        UserError: a base has no maps, or the form does not fit their channels.
    """
    try:
        featured = [Featured(base, places=found(base, x)) for base in bases]
        with torch.no_grad():
            maps = [base.eval().features(x[:1])[1] for base in featured]
        channels = [[math.prod(each[name].shape[1:-2]) for each in maps] for name in ("early", "late")]
        network = MixingNetwork(channels[0], channels[1], options.form, options.widths)
        return featured, plain_where_needed(network)
    except ValueError as error:
        raise UserError(f"derive: smoothing.network: {error}") from None


def assembled(
    bases: Sequence[nn.Module], options: Mixing, scales: Scales, x: Tensor, *, training: bool
) -> AdaptiveMixture:
    """The whole mixture, with the constants that training or answering has."""
    device = x.device
    featured, network = network_of(bases, options, x)
    scale, bias = (options.train_scale, options.train_bias) if training else (options.gamma_scale, options.gamma_bias)
    span, low = (1.0, 0.0) if training else (options.alpha_span, options.alpha_low)
    policy = Policy(scale, bias, span, low)
    accurate, robust = featured
    of_g, of_h = map(Scale, scales)
    detached = options.detached and not training
    return AdaptiveMixture(accurate, robust, of_g, of_h, network, policy, detached=detached).to(device)


class Training:
    """One training of a mixing network.

    Args:
        parents: the accurate one and the robust one, on the ground's device.
        scales: s_g and s_h. path: where its checkpoint lies.
    """

    def __init__(self, parents: Sequence[Parent], options: Mixing, scales: Scales, ground: Ground, path: Path) -> None:
        self.options, self.ground, self.path = options, ground, path
        self.images = DeviceImages(ground.judge.data.load("train"), ground.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(options.seed, "mixing network"))
            x = self.images.batch(slice(0, 2))[0]
            self.mixture = assembled([parent.model for parent in parents], options, scales, x, training=True)
        self.learnt = nn.ModuleDict({"network": self.mixture.network, "norm": self.mixture.policy.norm})
        self.batches = max(1, len(self.images) // options.size)
        self.steps = options.epochs * self.batches
        self.descents_per_step = -(-options.parts // options.parts_per_descent)
        self.optimiser = torch.optim.AdamW(
            self.mixture.network.parameters(), lr=options.lr, weight_decay=options.weight_decay
        )
        self.done = 0
        self.passes = 0.0
        self.by = ground.folder.name  # the point that it was begun for
        self.losses: list[float] = []  # the mean of each epoch so far
        self._sum = 0.0

    def run(self) -> dict[str, Tensor]:
        """Trains to the end; the state of network and policy.

        Raises:
            Paused: the ground's stop was set; the checkpoint is of that moment. Diverged: the loss is not finite.
        """
        self._resume()
        written = time.monotonic()
        with numerics():
            while self.done < self.steps:
                if self.ground.stop.is_set():
                    self._save()
                    raise Paused
                self._step(self.done)
                self.done += 1
                if self.done % self.batches == 0:
                    self.losses.append(self._sum / self.batches)
                    self._sum = 0.0
                    self.ground.tell({"epoch": self.done // self.batches, "loss": self.losses[-1]})
                if time.monotonic() - written > 60 * self.options.minutes:
                    self._save()
                    written = time.monotonic()
        self._save()
        return self.state()

    def state(self) -> dict[str, Tensor]:
        """What was learnt."""
        return checkpoints.contiguous(self.learnt)

    def _resume(self) -> None:
        if not self.path.exists():
            return
        try:
            kept = checkpoints.load(self.path)
        except checkpoints.DamagedCheckpoint:
            return  # begun anew: the same bits come
        self.learnt.load_state_dict(kept["learnt"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.done, self.passes = kept["done"], kept["passes"]
        self.losses, self._sum = kept["losses"], kept["sum"]
        self.by = kept.get("by", "")  # none where it was kept before it was told

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.save(
            self.path,
            {
                "learnt": self.state(),
                "optimiser": self.optimiser.state_dict(),
                "done": self.done,
                "passes": self.passes,
                "losses": self.losses,
                "sum": self._sum,
                "by": self.by,
            },
        )

    def _step(self, number: int) -> None:
        """One batch: attacked, as many clean images beside it, shuffled into parts; gradients gathered over some."""
        draws = torch.Generator(self.ground.device).manual_seed(derive(self.options.seed, "step", number))
        x, y, attacked = self._images(number, draws)
        order = torch.randperm(len(x), generator=draws, device=x.device)
        pieces = order.chunk(self.options.parts)
        mixture = self.mixture
        mixture.eval()
        mixture.network.train()
        mixture.policy.train()
        total = 0.0
        for first in range(0, len(pieces), self.options.parts_per_descent):
            gathered = pieces[first : first + self.options.parts_per_descent]
            self._rate(number * self.descents_per_step + first // self.options.parts_per_descent)
            self.optimiser.zero_grad()
            for rows in gathered:
                if len(rows) < 2:  # batch norm needs two
                    continue
                loss = self._loss(x[rows], y[rows], attacked[rows])
                (loss / len(gathered)).backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach()) / len(pieces)
            nn.utils.clip_grad_norm_(mixture.network.parameters(), self.options.max_norm)
            self.optimiser.step()
        if not math.isfinite(total):
            raise Diverged(f"the mixing network's loss is {total} at step {number}")
        self._sum += total
        self.passes += 4.0 * len(x)  # both parents forwards, the network both ways
        mixture.eval()

    def _rate(self, descent: int) -> None:
        whole = self.steps * self.descents_per_step
        warm = 1 - math.exp(-(descent + 1) / max(1.0, whole / 25))
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.lr * warm * 0.5 * (1 + math.cos(math.pi * descent / whole))

    def _loss(self, x: Tensor, y: Tensor, attacked: Tensor) -> Tensor:
        """Mean over images of weight (bce BCE(gamma, s) + ce CE(z, y) + product BCE CE), s = 1 for attacked ones."""
        options = self.options
        z, gamma = self.mixture.answer(x)
        bce = F.binary_cross_entropy_with_logits(gamma, attacked.to(gamma.dtype), reduction="none")
        ce = F.cross_entropy(z, y, reduction="none")
        each = options.bce * bce + options.ce * ce + options.product * bce * ce
        return (torch.where(attacked, 1.0, options.clean_weight) * each).mean()

    def _images(self, number: int, draws: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """As many clean images as attacked ones, with labels, and which are attacked."""
        rows = self._rows(number)
        x, y = self.images.batch(rows)
        hostile = list(self._attacked(x, y, draws))
        others = torch.randint(len(self.images), ((len(hostile) - 1) * len(x),), generator=draws, device=x.device)
        more, of_more = self.images.batch(others)
        images = torch.cat([x, more, *hostile])
        labels = torch.cat([y, of_more, *[y] * len(hostile)])
        attacked = torch.arange(len(images), device=x.device) >= len(hostile) * len(x)
        return images, labels, attacked

    def _rows(self, number: int) -> Tensor:
        epoch, batch = divmod(number, self.batches)
        order = torch.Generator().manual_seed(derive(self.options.seed, "epoch", epoch))
        return torch.randperm(len(self.images), generator=order)[batch * self.options.size :][: self.options.size]

    def _attacked(self, x: Tensor, y: Tensor, draws: torch.Generator) -> Iterator[Tensor]:
        """x' against cross-entropy, and against the margin to each of the runner-up classes, each with draws of its own."""
        options, threat = self.options, self.ground.judge.threat
        with attack_mode(self.mixture, "eval"):
            with torch.no_grad():
                runners = self.mixture(x).scatter(1, y[:, None], -math.inf).topk(self._targets(x), 1).indices
            for target in (None, *runners.T):
                low, high = options.eps
                radius = threat.eps * (low + (high - low) * torch.rand(len(x), generator=draws, device=x.device))
                weight = options.aware * torch.rand(len(x), generator=draws, device=x.device)
                count = self._iterations(draws)
                loss = _Objective(self.mixture, y, target, weight)
                yield apgd(loss, x, radius.to(x.dtype), count, threat.norm, draws)
                self.passes += 4.0 * len(x) * (count + 1)

    def _targets(self, x: Tensor) -> int:
        with torch.no_grad():
            classes = int(self.mixture(x[:1]).shape[1])
        return min(self.options.targets, classes - 1)

    def _iterations(self, draws: torch.Generator) -> int:
        """round(chi squared with so many degrees of freedom), at least 1."""
        normal = torch.randn(self.options.iterations, generator=draws, device=draws.device)
        return max(1, round(float(normal.square().sum())))


class _Objective:
    """(1 - w) base + w BCE(gamma, attacked): base is cross-entropy, or the targeted difference of logits ratio."""

    def __init__(self, mixture: AdaptiveMixture, y: Tensor, target: Tensor | None, weight: Tensor) -> None:
        self.mixture, self.y, self.target, self.weight = mixture, y, target, weight

    def __call__(self, x: Tensor) -> Tensor:
        z, gamma = self.mixture.answer(x)
        away = F.binary_cross_entropy_with_logits(gamma, torch.ones_like(gamma), reduction="none")
        return (1 - self.weight) * self._base(z) + self.weight * away

    def _base(self, z: Tensor) -> Tensor:
        if self.target is None:
            return F.cross_entropy(z, self.y, reduction="none")
        ordered = z.sort(1).values
        own, other = (z.gather(1, which[:, None])[:, 0] for which in (self.y, self.target))
        if z.shape[1] < 4:  # the ratio compares four
            return other - own
        return -(own - other) / (ordered[:, -1] - 0.5 * (ordered[:, -3] + ordered[:, -4]) + 1e-12)


def trained(
    parents: Sequence[Parent], options: Mixing, scales: Scales, ground: Ground
) -> tuple[dict[str, Tensor], Mapping[str, Any], float]:
    """What a mixing network has learnt, the losses of its epochs, and passes; as kept, where another point trained it."""
    about = {
        "parents": [parent.weights for parent in parents],
        "options": json.loads(options.model_dump_json(include=_TRAINED)),
        "scales": list(scales),
        "data": ground.judge.data.identity("train"),
        "threat": ground.judge.threat.model_dump(),
    }
    path = ground.kept / f"mixing-{fingerprint(about)}.pt"
    training = Training(parents, options, scales, ground, path)
    state = training.run()
    # where it was begun for this very point, a process may have died before it could tell
    passes = training.passes if training.by == ground.folder.name else 0.0
    return state, {"losses": training.losses}, passes


_TRAINED = set(Mixing.model_fields) - {"gamma_scale", "gamma_bias", "alpha_span", "alpha_low", "detached", "minutes"}
"""Options that training depends on: points that differ in others share one training."""
