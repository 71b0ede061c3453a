"""What can be done with each member: where it lies, what it is, and the commands that judge, train or load it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import words
from robustray.files import from_json
from sweeps.record import Snapshot


@dataclass(frozen=True)
class Card:
    """One member. Paths are relative to the sweep's folder, where the commands are to be run; all plain text."""

    trial: int
    folder: str
    weights: str  # SHA-256 in hex; "" where the record has none
    commands: list[tuple[str, str]]  # what for, and the command
    options: str  # trial.yaml, or a derived point's point.yaml; "" where it is not there to be read
    made: str = ""  # how a derived point came about
    found: str = ""  # what was found out in making it
    parents: list[tuple[str, str]] = field(default_factory=list)  # of a derived point, as seen from its folder: weights


def cards(df: pd.DataFrame, snapshot: Snapshot, folder: Path) -> list[Card]:
    """A card for each member, in the order of numbers; none before members are fixed.

    Args:
        df: as `analysis.load` gives it.
        snapshot: the record the table was made from.
        folder: the sweep's folder.
    """
    weights = {trial.number: trial.weights or "" for trial in snapshot.trials}
    found = []
    for row in df[df["member"]].to_dict("records"):
        number, made = int(row["trial"]), words.made({str(name): value for name, value in row.items()})
        found.append(_point(number, weights[number], folder, made) if made else _trial(number, weights[number], folder))
    return found


def _judge(where: str) -> tuple[str, str]:
    return "judge it again", f"python -m robustray judge {where} --split validation"


def _trial(number: int, weights: str, folder: Path) -> Card:
    where = f"trials/{number:04d}"
    commands = [
        _judge(where),
        (
            "train it again, and test that one",
            f"python -m robustray train {where}/trial.yaml --folder again && python -m robustray judge again --split test",
        ),
        (
            "load it, in Python",
            "from pathlib import Path; from robustray.subjects.trial import load_model; "
            f'config, model, weights = load_model(Path("{where}"))',
        ),
    ]
    return Card(number, where, weights, commands, _text(folder / where / "trial.yaml"))


def _point(number: int, weights: str, folder: Path, made: str) -> Card:
    where = f"trials/{number:04d}"
    commands = [
        _judge(where),
        (
            "load it, in Python",
            "from pathlib import Path; from robustray.subjects.spec import in_folder; "
            f'model = in_folder(Path("{where}")).model',
        ),
    ]
    about = _about(folder / where / "made.json")
    parents = [(str(parent["spec"]), str(parent["weights"])) for parent in about.get("parents", ())]
    recipe = _text(folder / where / "point.yaml")
    return Card(number, where, weights, commands, recipe, made, str(about.get("found", "")), parents)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # a folder that was moved away, or a record that was copied alone
        return ""


def _about(path: Path) -> dict[str, Any]:
    """What the worker wrote down of a point; nothing where that is missing or torn."""
    try:
        about = from_json(_text(path))
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}
