"""Models compared on the images they were all judged on: the trials of a sweep, or two models from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import axes, collect, judgements, paired, points, standing
from analysis.paired import Floats
from analysis.pareto import wilson
from robustray.errors import UserError, nearest
from robustray.measures.metrics import ACCURACIES, METRICS
from robustray.verdicts import CLEAN
from sweeps import chances, record
from sweeps.standing import SELECTION, TEST

SHORT = tuple(METRICS[name].short for name in ACCURACIES)  # `clean`, `robust`
_ENDS = ("difference", "difference_low", "difference_high", "p")
_KNOWN = ("trial", "setting", "member", "flags", "judge_version", "autoattack")


@dataclass(frozen=True)
class Paired:
    """Verdicts of K trials on the same N images of one split."""

    split: str
    trials: list[int]  # [K], ascending
    verdicts: Floats  # [K, 2, N]: clean and robust
    broken: Sequence[
        Mapping[str, int]
    ] = ()  # [K] images by what broke them first, in the order of attacks, `clean` first
    stages: tuple[str, ...] = ()  # what any of them was broken by, in order, `clean` first
    first: NDArray[np.int8] | None = None  # [K, N] which of the stages broke the image first; -1: it stands
    images: NDArray[np.int32] | None = None  # [N] rows of the split


@dataclass(frozen=True)
class Comparison:
    """What the verdicts on one split say of a sweep's trials."""

    trials: pd.DataFrame  # as `compare` gives it
    seeds: pd.DataFrame  # as `seeds` gives it
    broken: Mapping[int, Mapping[str, int]] = field(default_factory=dict)  # by trial: see `Paired.broken`
    verdicts: Paired | None = None  # what all of it was made from


def compare(
    a: Path | str,
    b: Path | str | None = None,
    *,
    split: str = TEST,
    resamples: int = paired.RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """What verdicts on the same images say of the trials of a sweep, or of two models. Writes nothing.

    Accuracies, differences and their ends are fractions. All comes from one paired bootstrap: a resample of the images
    that all models share. It holds the noise of images, and only where it is said that of training seeds.

    One sweep: a row per trial judged in full on the split, by number, with

    - `split`, `trial`, `setting` (its first trial; other training seeds share it), `member`, `flags`, `judge_version`,
      `autoattack`, `images`;
    - `clean_accuracy`, its standard error `_se`, its own 95 % Wilson interval `_low`, `_high`, and its part `_band_low`,
      `_band_high` of a 95 % band that holds for all these trials and both accuracies at once; the same for
      `robust_accuracy`;
    - `nondominated`: probability that no other setting here dominates its own, by the sweep's objectives and means over
      seeds. Where settings have several seeds, their pooled spread (`paired.seed_covariance`) is drawn for every setting
      beside the images, and shrinks with its number of seeds. A tie is no domination, and objectives that are no accuracies
      are taken without noise. Missing for settings that take no part (flagged, or infeasible). Those proven dominated
      before they were judged in full are not among the others;
    - for the first trial of each setting on the frontier, from the best in the first objective (clean accuracy, where it is
      one) to the worst: `next`, the first
      trial of the next setting; `clean_difference` to it with its 95 % interval `_low`, `_high`; `clean_p`, the p-value of
      McNemar's exact test (of the sign-flip test for means over seeds), adjusted by Holm's method for all neighbours and
      both accuracies; the same for `robust`.

    Two models: rows `clean` and `robust` with the accuracies `a` and `b`, their `difference` a - b with its 95 % interval
    `low`, `high`, how many of the `images` `only_a` and `only_b` is right about, the p-value `p` of McNemar's exact test, and
    the `attacks` that both were judged by; and `flags_a`, `flags_b`, why the numbers of one cannot be trusted ("" for none).

    Args:
        a: a sweep's folder; or, with `b`, the folder of a judgement or of a model that has one on the split.
        b: the same of the other model.
        split: `test`, or `validation` for the selection set. A trial of a sweep has a test result where it is a member.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UserError: there is nothing to compare, files are missing or damaged, or models were not judged alike: under the
            same threat on the same images, and two models by the same attacks.
    """
    if split not in (SELECTION, TEST):
        raise UserError(f"there is no split {split!r}; {nearest(split, (SELECTION, TEST))}")
    if resamples < 1:
        raise UserError(f"{resamples} resamples are too few; {paired.RESAMPLES} are usual")
    if b is None:
        return _sweep(Path(a), split, resamples, seed)
    for path in (Path(a), Path(b)):
        if (path / record.JOURNAL).exists():
            raise UserError(f"{path}: is a sweep; compare takes one sweep alone, or two models' judgements")
    found = {str(path): judgements.read(judgements.find(Path(path), split)) for path in (a, b)}
    return _pair(found, resamples, seed)


def of_sweep(folder: Path, snapshot: record.Snapshot, df: pd.DataFrame, split: str) -> Comparison | None:
    """What a report shows of one split; None where no trial is judged in full on it.

    Args:
        folder: the sweep's. snapshot: its record. df: the table `analysis.load` makes of it.
        split: `validation` or `test`.

    Raises:
        UserError: verdicts are missing or damaged, or trials were not judged on the same images.
    """
    models = read(folder, snapshot, split)
    if models is None:
        return None
    broken = dict(zip(models.trials, models.broken, strict=True))
    return Comparison(table(models, df, snapshot.objectives), seeds(models, df), broken, models)


def read(folder: Path, snapshot: record.Snapshot, split: str) -> Paired | None:
    """Verdicts of a sweep's trials judged in full on a split; None where there are none.

    Raises:
        UserError: verdicts are missing or damaged, or trials were not judged on the same images.
    """
    found = judgements.of_sweep(folder, snapshot, split)
    if not found:
        return None
    broken = [_broken(one) for one in found.values()]
    stages = tuple(dict.fromkeys(name for one in broken for name in one))
    verdicts = np.array([_both(one) for one in found.values()])
    first = np.stack([_first(one, stages) for one in found.values()])
    return Paired(split, list(found), verdicts, broken, stages, first, next(iter(found.values())).verdicts.image)


def table(
    models: Paired,
    df: pd.DataFrame,
    objectives: Mapping[str, str],
    *,
    resamples: int = paired.RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The columns of `compare` for a sweep's trials.

    Args:
        models: their verdicts.
        df: the sweep as `analysis.load` gives it, every row of it.
        objectives: the sweep's, by metric.
    """
    rows = df.assign(setting=standing.settings(df)).set_index("trial", drop=False).loc[models.trials]
    means = paired.resample(models.verdicts, resamples=resamples, seed=seed)  # [B, K, 2]
    accuracy, error = models.verdicts.mean(axis=-1), paired.standard_error(models.verdicts)
    z, images = paired.simultaneous(means, accuracy, error), models.verdicts.shape[-1]
    columns: dict[str, Any] = {name: rows[name].tolist() for name in _KNOWN}
    columns = {"split": models.split} | columns | {"images": images}
    for which, name in enumerate(ACCURACIES):
        counts = accuracy[:, which] * images
        columns |= {name: accuracy[:, which], f"{name}_se": error[:, which]}
        for kind, ends in (
            ("", [wilson(k, images) for k in counts]),
            ("_band", [wilson(k, images, z) for k in counts]),
        ):
            columns[f"{name}{kind}_low"], columns[f"{name}{kind}_high"] = zip(*ends, strict=True)
    standing_chances = _nondominated(models, means, rows, objectives, seed)
    result = pd.DataFrame(columns).assign(nondominated=rows["setting"].map(standing_chances).to_numpy(dtype=float))
    leading = rows[rows["trial"].isin(points.leaders(df, objectives))]
    return result.join(_neighbours(models, means, leading, objectives, seed).set_index("trial"), on="trial")


def seeds(models: Paired, df: pd.DataFrame) -> pd.DataFrame:
    """Spread over training seeds, apart from the noise of images: a row per setting with two judged seeds or more.

    Columns `trial` (the first of the setting), `seeds`, and for `clean` and `robust`: `_mean` over seeds, `_seeds` the
    standard deviation from seed to seed (see `paired.spread`), `_images` the standard error of one seed's accuracy over the
    drawing of images. Flagged trials take no part.
    """
    rows = df.assign(setting=standing.settings(df)).set_index("trial").loc[models.trials]
    found = []
    for first in sorted(set(rows["setting"])):
        verdicts = models.verdicts[((rows["setting"] == first) & (rows["flags"] == "")).to_numpy(dtype=bool)]
        if len(verdicts) < 2:
            continue
        row: dict[str, float] = {"trial": int(first), "seeds": len(verdicts)}
        for which, metric in enumerate(SHORT):
            part = verdicts[:, which]
            images = float(np.sqrt(np.mean(paired.standard_error(part) ** 2)))
            row |= {
                f"{metric}_mean": float(part.mean()),
                f"{metric}_seeds": paired.spread(part),
                f"{metric}_images": images,
            }
        found.append(row)
    return pd.DataFrame(found)


def _sweep(folder: Path, split: str, resamples: int, seed: int) -> pd.DataFrame:
    if not (folder / record.JOURNAL).exists():
        one = judgements.find(folder, split)
        raise UserError(f"{one}: is the judgement of one model; name another one to compare it with")
    snapshot = record.read(folder)
    models = read(folder, snapshot, split)
    if models is None:
        other = "; test is read last, for members alone: try --split validation" if split == TEST else ""
        raise UserError(f"{folder}: no trial is judged in full on {split} yet{other}")
    return table(models, collect.table(snapshot), snapshot.objectives, resamples=resamples, seed=seed)


def _both(judgement: judgements.Judgement) -> list[Floats]:
    return [judgement.verdicts.clean_correct, judgement.verdicts.robust_correct]


def _broken(judgement: judgements.Judgement) -> dict[str, int]:
    """How many images each attack broke that stood before it; under `clean`, those that are wrong as they are."""
    by = judgement.verdicts.broken_by
    return {name: int((by == name).sum()) for name in (CLEAN, *judgement.parts["stages"])}


def _first(judgement: judgements.Judgement, stages: Sequence[str]) -> NDArray[np.int8]:
    """[N] which of the stages broke each image first; -1 where it stands."""
    by, found = judgement.verdicts.broken_by, np.full(len(judgement.verdicts), -1, dtype=np.int8)
    for at, name in enumerate(stages):
        found[by == name] = at
    return found


def _nondominated(
    models: Paired, means: Floats, rows: pd.DataFrame, objectives: Mapping[str, str], seed: int
) -> pd.Series[float]:
    """Probabilities by setting, of those that take part."""
    fit = (rows["status"] == "complete") & rows["feasible"] & (rows["flags"] == "")
    settings = [setting for setting, all_fit in fit.groupby(rows["setting"]).all().items() if all_fit]
    if not settings:
        return pd.Series(dtype=float)
    seeds = [(rows["setting"] == setting).to_numpy(dtype=bool) for setting in settings]
    drawn = np.stack([means[:, each].mean(axis=1) for each in seeds], axis=1)  # [B, settings, 2]
    spread = paired.seed_covariance([models.verdicts[each] for each in seeds])
    if spread is not None:
        by_setting = np.stack([spread / each.sum() for each in seeds])
        drawn = drawn + chances.normal(np.zeros(drawn.shape[1:]), by_setting, draws=len(drawn), seed=seed)
    drawn = np.round(drawn, paired.DIGITS)
    values = np.empty((len(means), len(settings), len(objectives)))
    for at, name in enumerate(objectives):
        if name in ACCURACIES:
            values[..., at] = drawn[..., ACCURACIES.index(name)]
        else:
            values[..., at] = [rows.loc[each, name].mean() for each in seeds]
    modes = [mode == "max" for mode in objectives.values()]
    return pd.Series(paired.nondominated_share(values, modes), index=settings)


def _neighbours(
    models: Paired, means: Floats, leading: pd.DataFrame, objectives: Mapping[str, str], seed: int
) -> pd.DataFrame:
    """Each setting of the frontier against the next one along the first objective. The order is the selection set's also on
    test.
    """
    axis = axes.along(objectives)
    column = axis.column("judged_")
    placed = leading.groupby("setting")[column].mean().reset_index()
    ordered = placed.sort_values([column, "setting"], ascending=[axis.sign < 0, True])["setting"].tolist()
    trials = {setting: leading.loc[leading["setting"] == setting, "trial"].tolist() for setting in ordered}
    at = {setting: [models.trials.index(trial) for trial in trials[setting]] for setting in ordered}
    found = []
    for this, other in pairwise(ordered):
        row: dict[str, Any] = {"trial": trials[this][0], "next": trials[other][0]}
        for which, metric in enumerate(SHORT):
            mine, theirs = (models.verdicts[at[setting], which].mean(axis=0) for setting in (this, other))
            resampled = means[:, at[this], which].mean(axis=1) - means[:, at[other], which].mean(axis=1)
            ends = (mine.mean() - theirs.mean(), *paired.interval(resampled), paired.mcnemar(mine, theirs, seed=seed))
            row |= dict(zip((f"{metric}_{end}" for end in _ENDS), ends, strict=True))
        found.append(row)
    result = pd.DataFrame(found, columns=["trial", "next", *(f"{metric}_{end}" for metric in SHORT for end in _ENDS)])
    tests = [f"{metric}_p" for metric in SHORT]
    result[tests] = paired.holm(result[tests].to_numpy(dtype=float).ravel()).reshape(-1, len(tests))
    return result.astype({"next": "Int64"})


def _pair(found: Mapping[str, judgements.Judgement], resamples: int, seed: int) -> pd.DataFrame:
    if len(found) < 2:
        raise UserError(f"{next(iter(found))}: is compared with itself; name another judgement")
    judgements.alike(found)
    attacks = "+".join(next(iter(found.values())).parts["stages"])
    flags = [", ".join(judgement.flags) for judgement in found.values()]
    verdicts = np.array([_both(judgement) for judgement in found.values()])  # [2, 2, N]
    means = paired.resample(verdicts, resamples=resamples, seed=seed)
    rows = []
    for which in range(len(SHORT)):
        a, b = verdicts[:, which]
        low, high = paired.interval(means[:, 0, which] - means[:, 1, which])
        rows.append(
            {
                "a": a.mean(),
                "b": b.mean(),
                "difference": a.mean() - b.mean(),
                "low": low,
                "high": high,
                "only_a": np.maximum(a - b, 0).sum(),
                "only_b": np.maximum(b - a, 0).sum(),
                "images": len(a),
                "p": paired.mcnemar(a, b, seed=seed),
                "attacks": attacks,
                "flags_a": flags[0],
                "flags_b": flags[1],
            }
        )
    return pd.DataFrame(rows, index=pd.Index(SHORT, name="accuracy"))
