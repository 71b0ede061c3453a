"""A classifier's majority vote under Gaussian noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NoiseVote(nn.Module):
    """In training the network of noisy images; in eval mode the vote of what it says of several noisy copies of each.

    Training: f(x + sigma n), n ~ N(0, 1), one draw per image and pass. Eval, of n_1 .. n_S drawn anew in every pass:

        logits_k = log((v_k + p_k) / (S + 1)),   v_k = number of s with argmax f(x + sigma n_s) = k,
                                                 p_k = mean over s of softmax(f(x + sigma n_s))_k,

    so the class is that of most votes, ties go to the larger p, and no logit is infinite. Counts have no gradient: that of the
    logits is the gradient of log p, along which Salman et al. (NeurIPS 2019, arXiv:1906.04584) attack.

    Args:
        network: [B, C, H, W] to [B, classes], or to further outputs of auxiliary heads behind them, which vote apart.
        sigma: deviation of the noise per channel [C, 1, 1], in units of what the network takes.
        samples: S, noisy copies per image.
    """

    sigma: Tensor

    def __init__(self, network: nn.Module, sigma: Tensor, samples: int, classes: int) -> None:
        super().__init__()
        self.network = network
        self.samples = samples
        self.classes = classes
        self.register_buffer(
            "sigma", sigma, persistent=False
        )  # what the options say, whatever the weights were trained with

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            noisy: Tensor = self.network(self._noisy(x))
            return noisy
        outputs = torch.stack([self.network(self._noisy(x)) for _ in range(self.samples)])
        heads = [outputs[..., : self.classes], outputs[..., self.classes :]]
        return torch.cat([vote_of(head) for head in heads if head.shape[-1]], 1)

    def _noisy(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x)


def vote_of(outputs: Tensor) -> Tensor:
    """[S, B, K] of all copies to the logits [B, K] of their vote."""
    samples, _, classes = outputs.shape
    mean = F.log_softmax(outputs, 2).logsumexp(0) - math.log(samples)
    with torch.no_grad():
        votes = F.one_hot(outputs.argmax(2), classes).sum(0).to(mean.dtype)
        logits = torch.logaddexp(votes.log(), mean) - math.log(samples + 1)
    return mean + (logits - mean).detach()
