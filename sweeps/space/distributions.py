"""What an option may be searched over: distributions as YAML writes them, and the parameters a sampler is asked for."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeGuard, get_args

from pydantic import Field, TypeAdapter, ValidationError

from robustray.options.mistakes import requirement
from robustray.options.yaml import show
from robustray.registry import Count, Real

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Kind = Literal["uniform", "loguniform", "int", "logint", "stepped", "choice"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MEANING: dict[Kind, str] = {
    "uniform": "[low, high]",
    "loguniform": "[low, high], low above 0: the logarithm is uniform",
    "int": "[low, high]: whole numbers",
    "logint": "[low, high], low above 0: whole numbers, the logarithm is uniform",
    "stepped": "[low, high, step]: from low in steps up to high",
    "choice": "a list of values, or of branches: names, and mappings with their own distributions",
}
"""What stands under the name of a distribution. Both ends are included."""
PRIOR = "prior"
"""The key that may stand beside the name of a distribution."""
OF_A_PRIOR = (
    "the value, or the label of the branch, that you take to be the best: the search begins there, and draws near it less and "
    "less as trials end"
)
Scalar = None | bool | int | float | str

_REAL: TypeAdapter[float] = TypeAdapter(Annotated[Real, Field(allow_inf_nan=False)])
_COUNT: TypeAdapter[int] = TypeAdapter(Annotated[Count, Field(ge=-(2**53), le=2**53)])


class Unknown(Enum):
    """No value, where every value means something."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


@dataclass(frozen=True)
class Distribution:
    """The values an option may take, ends included.

    Attributes:
        kind: choice has `choices`; all others have `low` and `high`, and stepped a `step`.
        low: the smallest value.
        high: the largest value.
        step: the distance between neighbouring values; None where there is none.
        choices: the values of a choice, or the labels of its branches.
        prior: the value that is taken to be the best; `UNKNOWN` where nobody says, since null may be a choice. It changes no
            trial, only which are tried first.
    """

    kind: Kind
    low: float = 0
    high: float = 0
    step: float | None = None
    choices: tuple[Scalar, ...] = ()
    prior: Scalar | Unknown = UNKNOWN

    @classmethod
    def parse(cls, kind: Kind, arguments: object) -> Distribution:
        """Reads a numeric distribution.

        Args:
            kind: any but choice, whose branches need their surroundings.
            arguments: what YAML has under the kind: [low, high], or [low, high, step].

        Raises:
            ValueError: the arguments are no such list, are not numbers of that kind, or make no range.
        """
        names = ("low", "high", "step")[: 3 if kind == "stepped" else 2]
        if not isinstance(arguments, list) or len(arguments) != len(names):
            given = f"a list of {len(arguments)}" if isinstance(arguments, list) else show(arguments)
            raise ValueError(f"{kind} needs [{', '.join(names)}], not {given}")
        stepped_ints = kind == "stepped" and all(type(argument) is int for argument in arguments)
        whole = stepped_ints or kind in ("int", "logint")
        low, high, *step = (_number(kind, *pair, whole=whole) for pair in zip(names, arguments, strict=True))
        if low == high:
            raise ValueError(f"low and high are both {show(low)}; write {show(low)} instead of {kind}")
        if low > high:
            raise ValueError(f"{kind} needs low below high, not [{show(low)}, {show(high)}]")
        if math.isinf(high - low):
            raise ValueError(f"the range of {kind} is too wide")
        if kind in ("loguniform", "logint") and low <= 0:
            raise ValueError(f"{kind} needs numbers above 0, not {show(low)}")
        return cls._stepped(low, high, *step) if step else cls(kind, low, high)

    @classmethod
    def _stepped(cls, low: float, high: float, step: float) -> Distribution:
        span = high - low
        if not span * 1e-9 < step < span * 1.1:  # 0.6 - 0.4 is less than 0.2; the next check is the exact one
            raise ValueError(f"stepped needs a step above 0, up to high - low, not {show(step)}")
        count = round(span / step)
        if abs(span / step - count) > 1e-6:
            raise ValueError(f"from {show(low)} to {show(high)} is not a whole number of steps of {show(step)}")
        if isinstance(step, float):
            # Optuna counts steps in decimals and drops the last where 8/255 does not come out even: 15 digits do.
            digits = 14 - math.floor(math.log10(max(abs(low), abs(high))))
            low, step = round(low, digits), round(step, digits)
            if round(low + count * step, digits) > high:
                step = round(step - 10.0**-digits, digits)
            high = round(low + count * step, digits)
        return cls("stepped", low, high, step)

    def read(self, value: object) -> Scalar:
        """A value of this distribution as YAML has it: a number in any spelling, a value of a choice, or the label of a branch.

        Raises:
            ValueError: it is not of this distribution.
        """
        found = scalar(value) if isinstance(value, str) else value
        if self.kind == "choice":
            same = [each for each in self.choices if each == value and type(each) is type(value)]
            same += [each for each in self.choices if each == found and _is_number(each) and _is_number(found)]
            return self.checked(same[0] if same else found)
        if _is_number(found):
            with contextlib.suppress(OverflowError):  # a whole number beyond all floats is in no range
                found = int(found) if self.is_int and float(found).is_integer() else float(found)
        return self.checked(found)

    def likely(self, value: object) -> Distribution:
        """The same with a prior; `read` says how it may be written, and raises."""
        return replace(self, prior=self.read(value))

    @property
    def is_int(self) -> bool:
        """Whether the values are whole numbers."""
        return self.kind != "choice" and isinstance(self.low, int)

    def checked(self, value: object) -> Scalar:
        """The value itself, or the end of the range that a sampler's rounding carried it over (exp(log(20)) > 20).

        Args:
            value: what a sampler suggested or a record holds.

        Raises:
            ValueError: it is not of this distribution.
        """
        if self.kind == "choice":
            for choice in self.choices:
                if type(value) is type(choice) and value == choice:
                    return choice
        elif isinstance(value, int if self.is_int else int | float) and not isinstance(value, bool):
            inside = min(max(value, self.low), self.high)
            steps = (inside - self.low) / self.step if self.step else 0.0
            slack = 1e-12 * max(self.high - self.low, abs(self.low), abs(self.high))
            if self.low - slack <= value <= self.high + slack and abs(steps - round(steps)) < 1e-6:
                return inside
        raise ValueError(f"must be {self}, not {show(value)}")

    def __str__(self) -> str:
        if self.kind == "choice":
            return f"one of {', '.join(map(show, self.choices))}"
        noun = "a whole number" if self.is_int else "a number"
        steps = f" in steps of {show(self.step)}" if self.step is not None else ""
        return f"{noun} from {show(self.low)} to {show(self.high)}{steps}"

    def plain(self) -> dict[str, Any]:
        """The distribution as YAML writes it, numbers as numbers. For a choice of branches: their labels."""
        prior = {} if self.prior is UNKNOWN else {PRIOR: self.prior}
        if self.kind == "choice":
            return {"choice": list(self.choices), **prior}
        return {self.kind: [self.low, self.high] + ([] if self.step is None else [self.step]), **prior}

    def at(self, fraction: float) -> float:
        """The value so far along the range: 0 is low, 1 is high. Whole numbers and steps are rounded to one."""
        way = fraction * (self.high - self.low)
        step = self.step or (1 if self.is_int else 0)
        return min(self.low + (round(way / step) * step if step else way), self.high)

    @property
    def is_log(self) -> bool:
        """Whether the logarithm is uniform."""
        return self.kind in ("loguniform", "logint")

    def scaled(self, way: float) -> float:
        """The value so far along the distribution's own scale: 0 is low, 1 is high.

        low + way (high - low), or low (high / low)^way where the logarithm is uniform. Whole numbers and steps are rounded to
        the nearest one.

        Args:
            way: in [0, 1]. The distribution is no choice.
        """
        if way in (0, 1):  # the ends themselves, which exp(log(high)) may miss
            return self.high if way else self.low
        if not self.is_log:
            return self._number(self.at(way))
        value = math.exp(math.log(self.low) + way * (math.log(self.high) - math.log(self.low)))
        return self._number(round(value) if self.is_int else value)

    def way(self, value: float) -> float:
        """How far along its own scale a value lies, in [0, 1]: undoes `scaled`, but for rounding."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def _number(self, value: float) -> float:
        checked = self.checked(value)
        assert isinstance(checked, int | float)
        return checked

    @property
    def count(self) -> float:
        """How many values there are; inf for numbers that are not in steps."""
        if self.kind == "choice":
            return len(self.choices)
        step = self.step or (1 if self.is_int else 0)
        return 1 + round((self.high - self.low) / step) if step else math.inf

    def nth(self, index: int) -> Scalar:
        """The index-th of `count` values, from low to high or in the order of the choice."""
        if self.kind == "choice":
            return self.choices[index]
        return self.checked(self.at(index / (self.count - 1)))

    def to_optuna(self) -> BaseDistribution:
        """The same distribution as Optuna's."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(self.choices)
        if self.is_int:
            return IntDistribution(int(self.low), int(self.high), log=self.is_log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.is_log, step=self.step)


@dataclass(frozen=True)
class Parameter:
    """One searched option.

    Attributes:
        name: its dotted path in the template; inside a choice the path carries the branch: `defense.trades.beta`.
        distribution: the values it may take.
        condition: the choices above it as (name, label), outermost first; it exists only where all of them hold.
    """

    name: str
    distribution: Distribution
    condition: tuple[tuple[str, str], ...] = ()


def scalar(value: Scalar) -> Scalar:
    """An entry of a choice: text that is a number, as 8/255 is, becomes that number."""
    try:
        return _REAL.validate_python(value) if isinstance(value, str) else value
    except ValidationError:
        return value


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(kind: Kind, name: str, value: object, *, whole: bool) -> float:
    try:
        return _COUNT.validate_python(value) if whole else _REAL.validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name} of {kind} {requirement(error.errors())}") from None
