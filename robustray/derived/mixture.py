"""The mixture of an accurate and a robust classifier's probabilities (Bai et al., arXiv:2301.12554, 2402.02263)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mix(accurate: Tensor, robust: Tensor, alpha: Tensor | float) -> Tensor:
    """log((1 - alpha) softmax(accurate) + alpha softmax(robust)), [B, K], in log-space: nothing under- or overflows.

    Args:
        accurate, robust: logits [B, K]. alpha: the robust one's share, in (0, 1): a number, or [B, 1] by image.
    """
    share = torch.as_tensor(alpha, dtype=robust.dtype, device=robust.device)
    return torch.logaddexp(
        F.log_softmax(accurate, 1) + torch.log1p(-share), F.log_softmax(robust, 1) + torch.log(share)
    )


class Scale(nn.Module):
    """z to s z: the inverse temperature of a softmax."""

    factor: Tensor

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.register_buffer("factor", torch.tensor(factor, dtype=torch.float64))

    def forward(self, logits: Tensor) -> Tensor:
        return logits * self.factor.to(logits.dtype)


class OneHot(nn.Module):
    """Logits of which softmax is all but one-hot: 0 for the largest, -100 for the rest. No gradient passes."""

    def forward(self, logits: Tensor) -> Tensor:
        return -100.0 * (1 - F.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype))


class PowerMap(nn.Module):
    """z to s sign(u) |u|^p, u = GELU((z - mean) / std + c), per image over the K logits (arXiv:2402.02263, equation 7).

    The 250 largest logits give mean and (unbiased) standard deviation, as the authors have it for many classes. In float64
    inside, as theirs: large powers of small numbers round away in float32.
    """

    LARGEST = 250
    numbers: Tensor  # s, p, c

    def __init__(self, s: float, p: float, c: float) -> None:
        super().__init__()
        self.register_buffer("numbers", torch.tensor([s, p, c], dtype=torch.float64))

    def forward(self, logits: Tensor) -> Tensor:
        s, p, c = self.numbers
        z = logits.double()
        seen = z if z.shape[1] <= self.LARGEST else z.topk(self.LARGEST, 1).values
        u = F.gelu((z - seen.mean(1, keepdim=True)) / (seen.var(1, keepdim=True) + 1e-8).sqrt() + c)
        mapped: Tensor = s * u.sign() * u.abs() ** p
        return mapped


class Mixed(nn.Module):
    """What mixtures have in common: two frozen classifiers, and what becomes of their logits.

    Attributes:
        accurate, robust: g and h.
    """

    detached = False

    def __init__(self, accurate: nn.Module, robust: nn.Module, accurate_map: nn.Module, robust_map: nn.Module) -> None:
        super().__init__()
        self.accurate, self.robust = accurate, robust
        self.accurate_map, self.robust_map = accurate_map, robust_map

    def parts(self) -> Iterator[nn.Module]:
        """What stands in for the mixture in attacks whose images the mixture is then asked about."""
        yield self.accurate
        yield self.robust

    @property
    def differentiable(self) -> bool:
        """Whether gradients reach the images through both parents."""
        return not isinstance(self.accurate_map, OneHot)


class Mixture(Mixed):
    """z = mix(map_g(g(x)), map_h(h(x)), alpha): logits whose softmax is the mixture. Differentiable end to end.

    alpha = 0 and 1 give the mapped logits of one parent, no log-probabilities, as the authors' code does: they differ by a
    constant per image.

    Attributes:
        share: alpha, a number.
    """

    share: Tensor

    def __init__(
        self, accurate: nn.Module, robust: nn.Module, accurate_map: nn.Module, robust_map: nn.Module, alpha: float
    ) -> None:
        super().__init__(accurate, robust, accurate_map, robust_map)
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must lie in [0, 1], not {alpha}")
        self.register_buffer("share", torch.tensor(alpha, dtype=torch.float64))
        self._alpha = float(alpha)

    def forward(self, x: Tensor) -> Tensor:
        if self._alpha == 0:
            logits: Tensor = self.accurate_map(self.accurate(x))
        elif self._alpha == 1:
            logits = self.robust_map(self.robust(x))
        else:
            g, h = self.accurate_map(self.accurate(x)), self.robust_map(self.robust(x))
            logits = mix(g.to(h.dtype), h, self._alpha)
        return logits.to(x.dtype)

    def parts(self) -> Iterator[nn.Module]:
        """Each parent, and where the maps hide gradients the mixture without them."""
        yield from super().parts()
        if not isinstance(self.accurate_map, Scale) or not isinstance(self.robust_map, Scale):
            yield Bypassed(self)


class Bypassed(nn.Module):
    """A mixture with nine tenths of the robust parent's part taken unmapped, and the accurate one's wholly so: what the authors
    of MixedNUTS attack (their `raw_ratio` of 0.9), since gradients die where a power of a GELU is flat."""

    RAW = 0.9

    def __init__(self, mixture: Mixture) -> None:
        super().__init__()
        self.mixture = mixture

    def forward(self, x: Tensor) -> Tensor:
        whole = self.mixture
        g, h, alpha = whole.accurate(x), whole.robust(x), float(whole.share)
        parts = [
            (1 - alpha, g),
            (alpha * self.RAW, h),
            (alpha * (1 - self.RAW), whole.robust_map(h)),
        ]
        terms = [F.log_softmax(z.double(), 1) + math.log(share) for share, z in parts if share > 0]
        return torch.logsumexp(torch.stack(terms), 0).to(x.dtype)


def known_flags(model: nn.Module) -> tuple[str, ...]:
    """Flags of a model that need no look at its answers."""
    return ("detached",) if isinstance(model, Mixed) and model.detached else ()


def parts_of(model: nn.Module) -> tuple[nn.Module, ...]:
    """What stands in for a mixture where its parts are attacked; nothing for any other model."""
    return tuple(model.parts()) if isinstance(model, Mixed) else ()
