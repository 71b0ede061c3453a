"""MixedNUTS: a mixture whose robust part is sharpened where it is sure and right, chosen by a grid on margins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from robustray._later import F, Tensor, nn, torch
from robustray.derived.base import Ground, Made, Maker, Numbers, Parent
from robustray.errors import UserError
from robustray.registry import Count, Real, register


class Chosen(NamedTuple):
    """What a grid chose."""

    s: float
    p: float
    c: float
    alpha: float
    kept: float  # fraction of the images the robust parent holds under attack that keep their margin
    overruled: float  # fraction of its clean mistakes that the accurate parent cannot mend: what was minimised


@register
class Nonlinear(Maker):
    """z = log((1 - alpha) softmax(s_g g(x)) + alpha softmax(M(h(x)))), M the map of logits with numbers s, p, c (see
    `mixture.PowerMap`); MixedNUTS, Bai et al., TMLR 2024, arXiv:2402.02263. Training-free.

    s, p, c and alpha come from a grid over the robust parent's margins of probabilities m: with (1 - alpha) / alpha = q, the
    quantile of m that a fraction `keep` of the attacked and still correct images lies above, the fraction of clean and
    misclassified images with m >= q is least. Of equal ones, the one with the largest gap in margins between the two counts.

    GELU falls before it rises, so M may change the class where all logits are low. The authors print a line where it does; here
    the margin of such an image is negative, so that a map that changes classes keeps fewer.
    """

    name: Literal["nonlinear"] = "nonlinear"
    mixes: ClassVar[bool] = True
    keeps_classes: ClassVar[bool] = False

    keep: tuple[Annotated[Real, Field(gt=0, le=1)], ...] = Field(
        (0.995, 0.985, 0.97, 0.94, 0.88),
        min_length=1,
        description="fraction of the images that the robust parent holds under attack whose answer no accurate parent may "
        "overrule: one point for each",
    )
    images: Literal["tune", "train"] = Field(
        "tune", description="whose margins decide: validation images that are not judged, or training images"
    )
    limit: Count = Field(2000, ge=1, description="at most so many images are attacked for their margins")
    grid: Count = Field(8, ge=2, le=64, description="values of each of s, p and c")
    s: tuple[Real, Real] = Field((0.05, 5.0), description="range of the scale s, in equal ratios")
    p: tuple[Real, Real] = Field((1.0, 4.0), description="range of the power p")
    c: tuple[Real, Real] = Field((-2.5, 0.0), description="range of the bias c before the GELU")
    accurate: Literal["scaled", "one_hot"] = Field(
        "scaled",
        description="the accurate parent's part: scaled logits, or one-hot as in the paper, which passes no gradient",
    )
    accurate_scale: Real = Field(2.0, gt=0, description="s_g, the accurate parent's inverse temperature, where scaled")

    def numbers(self, parents: int) -> list[dict[str, Any]]:
        return [{"keep": keep} for keep in self.keep]

    def make(self, parents: Sequence[Parent], numbers: Numbers, ground: Ground) -> Made:
        from robustray.derived import margins

        robust = parents[1]
        found, passes = margins.of(robust, ground, self.images, self.limit)
        held, wrong = torch.from_numpy(found.held), torch.from_numpy(found.wrong)
        if not len(held) or not len(wrong):
            which = "holds no image under attack" if not len(held) else "makes no mistake on clean images"
            raise UserError(f"derive: {robust.spec} {which}, so there are no margins to choose by; use smoothing")
        chosen = choose(held, wrong, numbers["keep"], self.candidates())
        state = {"numbers": torch.tensor([chosen.s, chosen.p, chosen.c, chosen.alpha], dtype=torch.float64)}
        model = self.build([parent.model for parent in parents], numbers, state)
        return Made(model, state, dict(chosen._asdict()), passes)

    def found(self, said: Mapping[str, Any]) -> str:
        numbers = ", ".join(f"{name} {said[name]:.3g}" for name in ("s", "p", "c", "alpha"))
        mended = f"{said['overruled']:.1%} of its mistakes cannot be mended"
        return f"{numbers}: {said['kept']:.1%} of what the robust parent holds is kept, {mended}"

    def candidates(self) -> Iterator[tuple[float, float, float]]:
        """Every (s, p, c) of the grid."""
        low, high = (torch.tensor(value, dtype=torch.float64).log10() for value in self.s)
        for s in torch.logspace(float(low), float(high), self.grid, dtype=torch.float64).tolist():
            for p in torch.linspace(*self.p, self.grid, dtype=torch.float64).tolist():
                for c in torch.linspace(*self.c, self.grid, dtype=torch.float64).tolist():
                    yield s, p, c

    def build(self, parents: Sequence[nn.Module], numbers: Numbers, state: Mapping[str, Tensor]) -> nn.Module:
        from robustray.derived.mixture import Mixture, OneHot, PowerMap, Scale

        accurate, robust = parents
        s, p, c, alpha = state["numbers"].tolist()
        device = next((weight.device for weight in robust.parameters()), None)
        own = OneHot() if self.accurate == "one_hot" else Scale(self.accurate_scale)
        return Mixture(accurate, robust, own, PowerMap(s, p, c), alpha).to(device).eval().requires_grad_(False)


def choose(held: Tensor, wrong: Tensor, keep: float, candidates: Iterator[tuple[float, float, float]]) -> Chosen:
    """The best (s, p, c) and its alpha, Algorithm 1 of the paper.

    Args:
        held: logits [n, K] of the robust parent at attacked images that it still classifies correctly.
        wrong: logits [m, K] at clean images that it misclassifies. keep: fraction of `held` whose margin must suffice.

    Raises:
        UserError: every map of the grid changes the class of more images than that.
    """
    from robustray.derived.mixture import PowerMap

    best: tuple[float, float, Chosen] | None = None
    for s, p, c in candidates:
        mapped = PowerMap(s, p, c)
        above, below = margin(mapped(held), held), margin(mapped(wrong), wrong)
        cutoff = min(float(torch.quantile(above, 1 - keep)), 1 - 1e-9)
        if cutoff < 0:  # it changes the class of more images than may be given up
            continue
        alpha = 1 / (1 + cutoff)
        overruled = float((below >= cutoff).double().mean())
        gap = float(above.mean() - below.mean())
        chosen = Chosen(s, p, c, alpha, float((above >= cutoff).double().mean()), overruled)
        if best is None or (overruled, -gap) < best[:2]:
            best = overruled, -gap, chosen
    if best is None:
        raise UserError(
            f"derive: no s, p and c of the grid keep the class of {keep:.1%} of the images; use a larger range of c"
        )
    return best[2]


def margin(mapped: Tensor, logits: Tensor) -> Tensor:
    """[n] by how much the probability of the class that logits [n, K] say is above the largest other one, both by softmax of
    the mapped logits [n, K]: negative where the map changes the class."""
    said = F.one_hot(logits.argmax(1), logits.shape[1]).bool()
    probabilities = F.softmax(mapped, 1)
    return probabilities[said] - probabilities.masked_fill(said, -1).amax(1)
