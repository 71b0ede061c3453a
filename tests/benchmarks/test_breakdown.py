"""The breakdown of a step: what counts to what, and that it adds up."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from types import SimpleNamespace

import _bench
import pytest
from breakdown import IDLE, KINDS, OTHER, by_kind, kind, main
from torch._C._autograd import DeviceType


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


def test_on_a_gpu_the_time_of_a_kernel_counts_once() -> None:
    def event(key: str, device: str, cpu: float, gpu: float, annotation: bool = False) -> SimpleNamespace:
        place = getattr(DeviceType, device)
        return SimpleNamespace(
            key=key,
            device_type=place,
            self_cpu_time_total=cpu,
            self_device_time_total=gpu,
            is_user_annotation=annotation,
        )

    events = [
        event("aten::cudnn_convolution", "CPU", 10, 700),
        event("aten::add_", "CPU", 10, 100),
        event("cudaLaunchKernel", "CPU", 90, 0),
        event("sm90_xmma_fprop", "CUDA", 0, 700),
        event("elementwise", "CUDA", 0, 100),
        event("of a graph", "CUDA", 0, 50),
        event("Optimizer.step#SGD.step", "CUDA", 0, 850, annotation=True),
    ]
    random.Random(0).shuffle(events)
    spent, kernels = by_kind(events, cuda=True)
    found = {name: round(1e6 * seconds) for name, seconds in spent.items() if seconds}
    assert found == {"convolutions, forward": 700, "sums and products": 100, OTHER: 50}
    assert {name: round(1e6 * seconds) for name, seconds in kernels.items()} == {
        "sm90_xmma_fprop": 700, "elementwise": 100, "of a graph": 50}  # fmt: skip
    on_a_cpu, _ = by_kind([each for each in events if each.device_type == DeviceType.CPU], cuda=False)
    assert round(1e6 * sum(on_a_cpu.values())) == 110


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
