"""`python -m sweeps`: what is done to a sweep's folder by hand, and searches that train nothing."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from robustray.commands.exits import INTERRUPTED
from robustray.commands.front import front
from robustray.errors import told_in_one_line
from sweeps.commands.derive import derive
from sweeps.commands.mirror import mirror
from sweeps.commands.prune import prune
from sweeps.commands.repair import repair
from sweeps.commands.retry import retry
from sweeps.commands.simulate import simulate
from sweeps.commands.status import status

app = front(
    "Look after a sweep's folder, or simulate one. A sweep itself is run by run_sweep.py.",
    derive,
    mirror,
    prune,
    repair,
    retry,
    simulate,
    status,
)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with told_in_one_line(OSError):
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
