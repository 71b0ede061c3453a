"""`load.py`: what loads an export with torch and safetensors alone."""

from __future__ import annotations

from robustray.subjects.exported import PROGRAM, WEIGHTS

SCRIPT = "load.py"
TEXT = f'''"""The classifier of this folder: pixels [B, C, H, W] in [0, 1] to logits [B, K]. Needs torch and safetensors."""
from pathlib import Path
import torch
from safetensors.torch import load_file

def load(folder=Path(__file__).parent):
    model = torch.export.load(folder / "{PROGRAM}").module()
    model.load_state_dict(load_file(folder / "{WEIGHTS}"))
    return model
'''
"""Ten lines at most. The program is in eval mode and stays in it."""
