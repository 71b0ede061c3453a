"""One model against others, on the images that all were judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from analysis import paired
from analysis.comparison import SHORT, Paired

ENDS = ("difference", "low", "high", "p")
COLUMNS = [f"{metric}_{end}" for metric in SHORT for end in ENDS]


def versus(
    models: Paired, chosen: int, others: Sequence[int], seeds: Mapping[int, Sequence[int]], *, seed: int = 0
) -> pd.DataFrame:
    """What the others have over one, indexed by trial; those without verdicts on these images are left out.

    For `clean` and `robust`: `_difference` other - chosen as a fraction, the ends `_low`, `_high` of its 95 % interval of the
    paired bootstrap, and `_p` of McNemar's exact test (of the sign-flip test for means over seeds), adjusted by Holm's
    method for all others and both accuracies: what is read beside each other is tested together.

    Args:
        models: verdicts. chosen: a trial. others: more of them. seeds: the trials in each one's means. seed: of resamples.
    """
    at = {
        trial: [models.trials.index(number) for number in seeds[trial] if number in models.trials]
        for trial in (chosen, *others)
    }
    known = [trial for trial in others if at[trial]] if at[chosen] else []
    if not known:
        return pd.DataFrame(columns=COLUMNS)
    means = paired.resample(models.verdicts, seed=seed)
    rows = []
    for trial in known:
        row: list[float] = []
        for which in range(len(SHORT)):
            theirs, mine = (models.verdicts[at[each], which].mean(axis=0) for each in (trial, chosen))
            resampled = means[:, at[trial], which].mean(axis=1) - means[:, at[chosen], which].mean(axis=1)
            p = paired.mcnemar(theirs, mine, seed=seed)
            row += [float(theirs.mean() - mine.mean()), *paired.interval(resampled), p]
        rows.append(row)
    found = pd.DataFrame(rows, columns=COLUMNS, index=known)
    tests = [f"{metric}_p" for metric in SHORT]
    found[tests] = paired.holm(found[tests].to_numpy(dtype=float).ravel()).reshape(-1, len(tests))
    return found
