"""Ray's command line on a busy machine: `python -P tests/sweeps/patient_ray.py start --head`.

A node has 30 s from its start until it is known to the head, which no option changes. Here it has minutes: what tests
ask of nodes is what they do once they are there.
"""

from __future__ import annotations

import time
from typing import Any

from ray._private import services
from ray.scripts.scripts import main

PATIENCE = 240.0
_once = services.get_node


def _patiently(*given: Any) -> Any:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return _once(*given)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


services.get_node = _patiently
main()
