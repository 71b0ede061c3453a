"""The matrix form of a convolution is the convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from robustray.models.tiny_conv import TinyConv2d


@given(
    channels=st.integers(1, 3),
    filters=st.integers(1, 4),
    size=st.sampled_from([1, 2, 3, 4]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    height=st.integers(4, 9),
    width=st.integers(4, 9),
)
def test_values_and_gradients_are_those_of_a_convolution(
    channels: int, filters: int, size: int, stride: int, padding: int, height: int, width: int
) -> None:
    torch.manual_seed(0)
    layer = TinyConv2d(channels, filters, size, stride=stride, padding=padding).double()
    x = torch.randn(3, channels, height, width, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, layer.weight, layer.bias, stride, padding)
    towards = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * towards).sum(), [x, *layer.parameters()])
    got = layer(x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad((got * towards).sum(), [x, *layer.parameters()]), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_larger_images_take_the_convolution(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    monkeypatch.setattr(torch, "take", lambda *arguments: taken.append(arguments))
    layer = TinyConv2d(1, 2, 3, padding=1)
    assert layer(torch.rand(2, 1, 28, 28)).shape == (2, 2, 28, 28)
    assert not taken
    assert layer._outputs(28, 28) == 2 * 28 * 28


def test_weights_are_those_of_a_plain_convolution() -> None:
    plain = torch.nn.Conv2d(1, 2, 3, padding=1)
    layer = TinyConv2d(1, 2, 3, padding=1)
    layer(torch.rand(1, 1, 8, 8))
    layer.load_state_dict(plain.state_dict())
    assert list(layer.state_dict()) == list(plain.state_dict())
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(layer(x), plain(x))
