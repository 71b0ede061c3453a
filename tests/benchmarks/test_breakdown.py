"""The breakdown of a step: what counts to what, and that it adds up."""

from __future__ import annotations

import csv
from pathlib import Path

import _bench
import pytest
from breakdown import IDLE, KINDS, OTHER, kind, main


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("aten::mkldnn_convolution", "convolutions, forward"),
        ("aten::cudnn_convolution", "convolutions, forward"),
        ("aten::convolution_backward", "convolutions, backward"),
        ("aten::native_batch_norm", "batch norm, forward"),
        ("aten::native_batch_norm_backward", "batch norm, backward"),
        ("aten::cudnn_batch_norm_backward", "batch norm, backward"),
        ("aten::threshold_backward", "activations"),
        ("aten::add_", "sums and products"),
        ("aten::copy_", "copies"),
        ("aten::addmm", "products of matrices"),
        ("aten::_fused_sgd_", "optimiser and average"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", "autograd itself"),
        ("ConvolutionBackward0", "autograd itself"),
        ("triton_poi_fused_add_relu_0", "compiled kernels"),
        ("aten::_log_softmax", OTHER),
    ],
)
def test_operations_belong_to_a_kind(operation: str, expected: str) -> None:
    assert kind(operation) == expected


def test_a_step_adds_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_bench, "RESULTS", tmp_path)
    assert main(["--quick", "--device=cpu", "--precision=fp32", "--set=model.width=4", "--set=attack.steps=1"]) == 0
    (table,) = tmp_path.glob("*-breakdown-quick.csv")
    with table.open() as file:
        step, *kinds = csv.DictReader(file)
    assert step["measure"] == "a step"
    spent = {row["measure"]: float(row["value"]) for row in kinds}
    assert spent.keys() <= {*KINDS, OTHER, IDLE}
    assert spent.keys() >= {"convolutions, forward", "convolutions, backward", "batch norm, backward"}
    assert sum(spent.values()) > 0.999 * float(step["value"])


def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--device=cpu", "--set=model.wdth=4"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("breakdown.py: ")
    assert "did you mean 'width'" in error
    assert len(error.splitlines()) == 1
