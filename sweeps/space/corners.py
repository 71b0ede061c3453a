"""What is wrong with a template: its corners, and every two parameters side by side, are built and asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from robustray.judge import Judge
from robustray.moved import written
from robustray.options.mistakes import mistakes
from robustray.options.yaml import Keys, show
from robustray.trial import TrialConfig
from sweeps.space import templates


def mistaken(template: Any, judge: Judge | None) -> dict[Keys, str]:
    """What is wrong, by its keys in the tree that the template was compiled from.

    What two branches or numbers do only together is told with the names of both.

    Args:
        template: as compiled. judge: None where it has mistakes of its own.
    """
    corners = [_Corner(template, choose, {}, judge) for choose in templates.corners(template)]
    if not any(corner.wrong for corner in corners):  # a branch that is wrong by itself is wrong beside every other
        corners += [_Corner(template, choose, beside, judge) for choose, beside in templates.pairs(template)]
    shared = _heeded(corner.config for corner in corners if corner.config is not None)
    found: dict[Keys, str] = {}
    together: dict[Keys, Counter[tuple[str, str]]] = defaultdict(Counter)
    for corner in corners:
        for keys, what in corner.mistakes(shared).items():
            if not corner.where:
                found.setdefault(keys, what)
            else:
                together[keys][what, corner.where] += 1
    for keys, cases in together.items():
        # With two others at their ends, what is in between may be wrong as well; the true pair is wrong most often.
        (what, where), _ = cases.most_common(1)[0]
        found.setdefault(keys, f"{what} (where {where})")
    return found


def heeded(template: Any, judge: Judge) -> frozenset[Keys]:
    """Options that some branch looks at, by their keys."""
    every = [*templates.corners(template), *(choose for choose, _ in templates.pairs(template))]
    filled = (templates.fill(template, choose) for choose in every)
    return _heeded(TrialConfig.loose({"judge": judge, **each}) for each in filled)


def _heeded(configs: Iterable[TrialConfig]) -> frozenset[Keys]:
    """What some of the trials ask for, for the making of x', and not all of them ignore."""
    known = list(configs)
    asked = frozenset[Keys]().union(*(config.addressed() for config in known))
    return frozenset(keys for keys in asked if not all(config.ignores(keys) for config in known))


class _Corner:
    """One way to fill a template, read as a trial.

    Attributes:
        config: the trial; None where its options are wrong by themselves.
        where: the two parameters that it puts side by side, in words; "" for none.
        wrong: what is wrong with options by themselves, by their keys in the filled template.
    """

    def __init__(
        self, template: Any, choose: templates.Choose, beside: Mapping[str, object], judge: Judge | None
    ) -> None:
        self.where = " and ".join(f"trial.{name} is {show(value)}" for name, value in beside.items())
        self.config: TrialConfig | None = None
        self.wrong: dict[Keys, str] = {}
        self._template, self._choose = template, choose
        self._filled = templates.fill(template, choose)
        try:
            self.config = TrialConfig.loose({"judge": judge, **self._filled})
        except ValidationError as error:  # the judge has its own mistakes, and they are known
            self.wrong = {keys: what for keys, what in mistakes(error, TrialConfig).items() if keys[:1] != ("judge",)}

    def mistakes(self, heeded: Collection[Keys]) -> dict[Keys, str]:
        """What is wrong, by its keys in the tree that was compiled. Args: heeded: see `TrialConfig.objections`."""
        wrong = self.wrong
        if self.config is not None:
            wrong = {written(keys, self._filled): what for keys, what in self.config.objections(heeded).items()}
        found: dict[Keys, str] = {}
        for filled, what in wrong.items():
            keys, distribution = templates.source_keys(self._template, filled, self._choose)
            whole = {"uniform": "int", "loguniform": "logint"}.get(distribution.kind if distribution else "")
            remedy = f"; use {whole}" if whole and what.startswith("must be a whole number") else ""
            found.setdefault(keys, what + remedy)
        return found
