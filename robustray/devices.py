"""What this process may compute on."""

from __future__ import annotations

import torch

from robustray.errors import UserError


def pick_device(device: str = "auto") -> torch.device:
    """The device to work on: `auto` is the first CUDA device where there is one, else the CPU.

    Raises:
        UserError: there is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise UserError(f"there is no device {device!r}: auto, cpu, or cuda:0 and so on") from None
    there = torch.cuda.device_count() if chosen.type == "cuda" else 1
    if chosen.type not in ("cpu", "cuda") or (chosen.index or 0) >= there:
        raise UserError(
            f"device {device!r} is not on this machine: {there if chosen.type == 'cuda' else 'no'} such device"
        )
    return chosen
