"""What tables are made of: the trials of sweeps, their options, and what was measured of each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis import collect, standing
from analysis.papers.labels import labels
from robustray.errors import UserError
from robustray.files import json_mapping
from robustray.options.recorded import recorded
from sweeps import record

Note = Callable[[str], None]
"""Hears what a reader should know: what was left out, and why."""
OF_MODEL = ("sweep", "trial", "setting", "label")
"""Columns that say which model a row is of."""
_TRIAL = re.compile(r"results/\w+/trials/\d{4}")
_RESULT, _ABOUT = "result.json", "measure.json"
HELD_OUT = ("test", "validation")


def trials(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """The complete trials and derived points of sweeps that no flag is on: the columns of `analysis.load`, and

    `sweep` (its name), `setting` (one for all seeds of the same options), `label` (in a table), `config` (all options, as the
    trial's folder has them; {} of a derived point), `home` (that folder).

    Raises:
        UserError: a folder has no readable record, or none of its trials is complete.
    """
    found = pd.concat([_of_sweep(folder, note) for folder in dict.fromkeys(folders)], ignore_index=True)
    if found["sweep"].nunique() > 1:
        for column in ("setting", "label"):
            found[column] = found["sweep"] + (": " if column == "label" else "/") + found[column].astype(str)
    return found


def _of_sweep(folder: Path, note: Note) -> pd.DataFrame:
    df = collect.table(record.read(folder))
    name = folder.absolute().name
    df["sweep"], df["label"], df["setting"] = name, labels(df), standing.settings(df).astype(str)
    first = df.drop_duplicates("setting").set_index("setting")["label"]
    df["label"] = df["setting"].map(first)
    df["home"] = [str(folder / "trials" / f"{number:04d}") for number in df["trial"]]
    flagged = df["flags"] != ""
    for row in df[flagged].to_dict("records"):
        note(f"{name}: trial {row['trial']} is left out: flagged, {row['flags']}")
    df = df[(df["status"] == "complete") & ~flagged].reset_index(drop=True)
    if df.empty:
        raise UserError(f"{folder}: no trial of this sweep is complete yet; run_sweep.py and its space go on")
    return df.assign(config=df["home"].map(lambda home: _config(Path(home))))


def _config(home: Path) -> dict[str, Any]:
    path = home / "trial.yaml"
    try:
        config = recorded(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError):
        raise UserError(f"{path}: cannot be read as the options of a trial") from None
    return config if isinstance(config, dict) else {}


def measured(models: pd.DataFrame, measure: str, command: str) -> pd.DataFrame:
    """What was measured of models by one measure, whoever took it: a row for each result.

    Columns: those of `OF_MODEL`, `split`, `images`, `data`, `norm`, `eps`, `rows` (which images, a mark), `settings` (options,
    as JSON), `value`, `low`, `high`, `unit`, `values` (all further numbers), `at` (the folder with its tables).

    Args:
        models: as `trials` gives them.
        command: what to say takes it.

    Raises:
        UserError: nothing was, or a result is damaged.
    """
    found = []
    for model in models.to_dict("records"):
        for path in sorted(Path(model["home"]).glob(f"measures/*-{measure}-*/{_RESULT}")):
            said = _said(path)
            if said["measure"] == measure:
                found.append({key: model[key] for key in OF_MODEL} | said)
    if not found:
        raise missing(models, measure, command)
    return pd.DataFrame(found)


def missing(models: pd.DataFrame, what: str, command: str) -> UserError:
    """The one line about what no model has, with the command for the first of them."""
    sweeps = " and ".join(dict.fromkeys(models["sweep"]))
    own = _TRIAL.sub(lambda found: str(models["home"].iloc[0]), command)
    return UserError(f"{sweeps}: {what} is not measured of any trial yet; for each trial: {own}")


def _said(path: Path) -> dict[str, Any]:
    try:
        said, about = json_mapping(path), json_mapping(path.parent / _ABOUT)
        settings = {key: value for key, value in said["settings"].items() if key != "name"}
        return {key: said[key] for key in ("measure", "split", "images", "data", "value", "low", "high", "unit")} | {
            "norm": said["threat"]["norm"],
            "eps": float(said["threat"]["eps"]),
            "rows": json.dumps(about["rows"], sort_keys=True),
            "settings": json.dumps(settings, sort_keys=True),
            "values": dict(said["values"]),
            "at": str(path.parent),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: damaged; the same measure command writes it anew") from None


def alike(found: pd.DataFrame, note: Note, *, split: str | None = None) -> pd.DataFrame:
    """Of several results of one measure those that may be compared: with the same options on the same images of a split, of the
    kind that most models have (then that with the most images). One row for each model.

    Args:
        found: as `measured` gives it.
        split: train, validation or test; None: test where most models have it, else validation.
    """
    if split is None:
        counts = found.groupby("split")["label"].size()
        split = max(HELD_OUT, key=lambda name: (int(counts.get(name, 0)), name == HELD_OUT[0]))
    here = found[found["split"] == split]
    if here.empty:
        return here
    kinds = here.groupby(["settings", "data", "norm", "eps", "rows"])["images"].agg(["size", "max"])
    kind = kinds.sort_values(["size", "max"], kind="stable").index[-1]
    chosen = here[(here[["settings", "data", "norm", "eps", "rows"]] == list(kind)).all(axis=1)]
    if others := len(kinds) - 1:
        note(
            f"{here['measure'].iloc[0]} on {split}: of {len(kinds)} kinds of options and images the one that "
            f"{len(chosen)} models have; {others} left out"
        )
    return chosen.drop_duplicates(["sweep", "trial"], keep="last").reset_index(drop=True)


def table(at: str, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """A table that lies beside a result.

    Raises:
        UserError: it cannot be read, or has other columns.
    """
    path = Path(at) / f"{name}.csv"
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError):
        raise UserError(f"{path}: cannot be read; the same measure command writes it anew") from None
    if not set(columns) <= set(rows.columns):
        raise UserError(f"{path}: must have the columns {', '.join(columns)}")
    return rows


def part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a trial's options, `defense` say; empty where there is none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def conditions(config: Mapping[str, Any]) -> str:
    """`cifar10:linf:0.03137`: data, norm and eps of the judge, by which published numbers may stand beside ours."""
    judge = part(config, "judge")
    threat, eps = part(judge, "threat"), part(judge, "threat").get("eps")
    return f"{part(judge, 'data').get('name')}:{threat.get('norm')}:{eps if not isinstance(eps, int | float) else f'{eps:.5f}'}"
