"""`python -m robustray.training.follower`: one of the processes that train with another one, which starts it.

It does what the lines of its standard input say, and ends with them: they end when the first process does. On its standard
output there is a line when it is ready and, where something fails, one with the cause.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from robustray.files import from_json

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Follows to the end."""
    with contextlib.suppress(AttributeError, OSError):  # Linux has it: also one that is stopped, or stuck, then ends
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    words = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no word of ours
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, orders), daemon=True).start()
    place = orders.get()
    if os.getppid() != place["parent"]:  # it died before it could be said what happens then
        os._exit(0)
    import torch

    from robustray.errors import ProcessLost, UserError
    from robustray.training.processes import LOST, OUT_OF_MEMORY

    try:
        _follow(place, orders, words)
    except ProcessLost:
        os._exit(LOST)
    except BaseException as error:
        if not isinstance(error, UserError):  # which the first process says in its own words
            traceback.print_exc()
        kind = OUT_OF_MEMORY if isinstance(error, torch.cuda.OutOfMemoryError) else "failed"
        line = (str(error).strip().splitlines() or [""])[0]
        print(json.dumps({"kind": kind, "cause": f"{type(error).__name__}: {line}"}), file=words, flush=True)
        os._exit(1)


def _follow(place: dict[str, Any], orders: queue.SimpleQueue[dict[str, Any]], words: TextIO) -> None:
    import torch

    from robustray import plugins
    from robustray.errors import Diverged, Paused
    from robustray.training.together import Group
    from robustray.training.trainer import Trainer
    from robustray.trial import TrialConfig

    print("ready", file=words, flush=True)
    device, threads = place["device"], place["threads"]
    group = Group(place["rank"], place["size"], Path(place["store"]), torch.device(device))
    trainer: Trainer | None = None
    while True:
        order = orders.get()
        if order["do"] == "open":
            trainer = None  # before the next one takes as much memory
            plugins.arrived(order["plugins"])
            folder = Path(order["folder"])
            config = TrialConfig.recorded(order["config"], folder)
            trainer = Trainer(config, folder, device=device, threads=threads, group=group)
        else:
            work = {"epoch": Trainer.epoch, "standing": Trainer.standing}[order["do"]]
            assert trainer is not None
            with contextlib.suppress(Diverged, Paused):  # which the first process meets at the same place
                work(trainer)


def _listen(lines: TextIO, orders: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in lines:
        orders.put(from_json(line))
    os._exit(0)


if __name__ == "__main__":
    main()
