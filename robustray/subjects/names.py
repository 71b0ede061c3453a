"""Names of weights: what wrappers put in front comes off where it does not fit, and only if what is left then fits exactly."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from torch import Tensor

from robustray.errors import UserError

_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_PLACE = re.compile(r"^\d+\.(?:network\.)?")
"""Where a network of ours stands in its model: second, behind `Normalise`, and there perhaps inside a `NoiseVote`."""
_LATER = re.compile(r"(?:^|\.)[1-9]\d*\.$")
_COUNT = "n_averaged"
_COUNTED = "num_batches_tracked"
"""What batch norm counts and never uses; files of before it did have none."""
PIXELS = frozenset({"0.mean", "0.std"})
"""The constants of `Normalise`, the first of the two layers of every architecture of ours."""


def fitted(state: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """The weights under the network's names: as they are where they fit, else without what wrappers put in front.

    DataParallel puts `module.` before a name, torch.compile `_orig_mod.` and FSDP its own, anywhere in it; Lightning and others
    the name of the attribute that holds the network, before all of them; torch's `AveragedModel` keeps a count beside them.
    Counters that no answer depends on are not missed. What makes no names fit is left as it is, for the message.
    """
    if fit(state.keys(), wanted):
        return state
    ours = _by_bare_name(wanted)
    for _, theirs in _without_fronts(state):
        if fit(theirs.keys(), ours.keys()) and len(ours) == len(wanted):
            return {ours[bare]: state[name] for bare, name in theirs.items()}
    return state


def fitted_inside(state: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """As `fitted`, for a model of ours and weights of its network, which stands elsewhere there.

    A network that normalises by itself is the second layer of ours alone. The constants of the first one, `PIXELS`, lie
    beside its weights as `mean` and `std`, or are not among them: of what is returned they are missing then. And a network of
    ours has the same weights with and without a vote under noise.

    Raises:
        UserError: the weights fit, but something stood before their network, a second normalisation say.
    """
    ours = {_PLACE.sub("", name): name for name in wanted}
    constants = {bare for bare, name in ours.items() if name in PIXELS}
    for front, theirs in (*_without_fronts(state), *_without_places(state)):
        if len(ours) == len(wanted) and fit(theirs.keys() | constants, ours.keys()):
            if constants - theirs.keys() not in (set(), constants):
                continue
            if _LATER.search(front):
                raise UserError(
                    f"these are the weights of part {front[:-1]} of a sequence, and what stands before it, a normalisation "
                    "say, is not among them; name a function that makes the whole network, as package.module:function"
                )
            return {ours[bare]: state[name] for bare, name in theirs.items()}
    return state


def fit(names: Collection[str], wanted: Collection[str]) -> bool:
    """Whether names are those that are wanted, counters of batch norm apart."""
    missing = set(wanted) - set(names)
    return set(names) <= set(wanted) and all(name.rpartition(".")[2] == _COUNTED for name in missing)


def _without_fronts(state: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Every front that all names share, the empty one first, and the names by what is left of them."""
    counted = [name for name in state if name != _COUNT]
    theirs = _by_bare_name(counted)
    if len(theirs) < len(counted):
        return
    first = next(iter(theirs), "")
    shared = [first[: end + 1] for end, letter in enumerate(first) if letter == "."]
    for front in ("", *(front for front in shared if all(bare.startswith(front) for bare in theirs))):
        yield front, {bare.removeprefix(front): name for bare, name in theirs.items()}


def _without_places(state: Iterable[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """The weights of a model of ours by their names inside its two layers."""
    bare = _by_bare_name(state)
    if bare.keys() >= PIXELS:
        inside = {_PLACE.sub("", name): whole for name, whole in bare.items()}
        yield from [("", inside)] if len(inside) == len(bare) else []


def _by_bare_name(names: Iterable[str]) -> dict[str, str]:
    """Names by what is left of them without wrappers' parts; fewer than there were where two become one."""
    return {_WRAPPERS.sub("", name): name for name in names}
