"""One model from the command line: `python -m robustray train trial.yaml`, `python -m robustray judge FOLDER`."""

from __future__ import annotations

from robustray.commands.certify import certify
from robustray.commands.check import check
from robustray.commands.data import data
from robustray.commands.doctor import doctor
from robustray.commands.export import export
from robustray.commands.front import front
from robustray.commands.judge import judge
from robustray.commands.measure import measure
from robustray.commands.toy import toy
from robustray.commands.train import train
from robustray.errors import told_in_one_line

app = front(
    "Train, judge and measure one robust classifier.",
    *(train, judge, measure, certify, export, data, doctor, check, toy),
)


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    with told_in_one_line(OSError):
        app()


if __name__ == "__main__":
    main()
