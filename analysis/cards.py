"""What can be done with each member: where it lies, what it is, and the commands that judge, train or load it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sweeps.record import Snapshot


@dataclass(frozen=True)
class Card:
    """One member. Paths are relative to the sweep's folder, where the commands are to be run; all plain text."""

    trial: int
    folder: str
    weights: str  # SHA-256 in hex; "" where the record has none
    commands: list[tuple[str, str]]  # what for, and the command
    options: str  # trial.yaml; "" where it is not there to be read


def cards(df: pd.DataFrame, snapshot: Snapshot, folder: Path) -> list[Card]:
    """A card for each member, in the order of numbers; none before members are fixed.

    Args:
        df: as `analysis.load` gives it.
        snapshot: the record the table was made from.
        folder: the sweep's folder.
    """
    weights = {trial.number: trial.weights or "" for trial in snapshot.trials}
    return [_card(int(number), weights[number], folder) for number in df.loc[df["member"], "trial"]]


def _card(number: int, weights: str, folder: Path) -> Card:
    where = f"trials/{number:04d}"
    commands = [
        ("judge it again", f"python -m robustray judge {where} --split validation"),
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
    try:
        options = (folder / where / "trial.yaml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # a folder that was moved away, or a record that was copied alone
        options = ""
    return Card(number, where, weights, commands, options)
