"""Randomised smoothing: votes, their closed form, their gradients, and how a trial of it is trained and judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from robustray.data import Digits
from robustray.data.device import DeviceImages
from robustray.measures.accuracy import accuracies
from robustray.models import NoiseSmoothed, SmallCnn
from robustray.models.heads import ClassLogits
from robustray.models.noise import NoiseVote, vote_of
from robustray.models.normalise import Normalise
from robustray.testing.models import answers
from robustray.training import Trainer
from robustray.trial import TrialConfig
from robustray.verdicts import Verdicts
from tests.robustray.judged import Command, same_verdicts
from tests.robustray.made import JUDGE, generator, linear, trial
from tests.robustray.test_resume import stopped_after_every_step


def outputs(samples: int, images: int, classes: int, seed: int) -> Tensor:
    return 3 * torch.randn(samples, images, classes, generator=generator(seed), dtype=torch.float64)


@given(samples=st.integers(1, 6), classes=st.integers(1, 5), seed=st.integers(0, 1000))
def test_logits_are_those_of_the_vote(samples: int, classes: int, seed: int) -> None:
    """A distribution over classes, log((v + p) / (S + 1)); the largest has most votes, of those the largest probability."""
    said = outputs(samples, 3, classes, seed)
    logits = vote_of(said)
    votes = torch.stack([(said.argmax(2) == k).sum(0) for k in range(classes)], 1)
    p = said.softmax(2).mean(0)
    torch.testing.assert_close(logits, ((votes + p) / (samples + 1)).log())
    torch.testing.assert_close(logits.logsumexp(1), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    for image in range(3):
        assert logits[image].argmax() == max(range(classes), key=lambda k: (int(votes[image, k]), float(p[image, k])))


def test_no_logit_is_infinite() -> None:
    """Of a class that has no vote and a probability that is 0 in every precision."""
    logits = vote_of(torch.tensor([[[1e4, -1e4, 0.0]]]).repeat(3, 1, 1))
    assert logits.isfinite().all()
    assert logits.argmax() == 0


def test_what_is_not_finite_stays_so() -> None:
    """For the judge, to whom a NaN is never right."""
    said = outputs(4, 2, 3, 0)
    said[1, 0, 2] = math.nan
    assert vote_of(said)[0].isnan().all()
    assert vote_of(said)[1].isfinite().all()


def test_gradients_are_those_of_the_mean_probability() -> None:
    said = outputs(5, 3, 4, 0).requires_grad_()
    weights = torch.randn(3, 4, generator=generator(1), dtype=torch.float64)
    (found,) = torch.autograd.grad((vote_of(said) * weights).sum(), said)
    (expected,) = torch.autograd.grad((said.softmax(2).mean(0).log() * weights).sum(), said)
    torch.testing.assert_close(found, expected)
    assert found.abs().max() > 0


@pytest.mark.parametrize("margin", [-0.3, 0.0, 0.1, 0.5])
def test_shares_of_votes_are_those_of_the_normal_distribution(margin: float) -> None:
    """Of a linear network of two classes: Phi(margin / (sigma |w|)), within five standard errors."""
    w, sigma, samples = torch.tensor([2.0, -1.0]), 0.25, 4000
    x = w * margin / (w @ w)  # w @ x = margin
    smoothed = NoiseVote(linear(torch.stack([0 * w, w])), torch.full((1, 1, 1), sigma), samples, 2).eval()
    shares = (answers(smoothed, x.view(1, 1, 1, 2)).exp() * (samples + 1))[0].floor() / samples
    expected = 0.5 * (1 + math.erf(margin / (sigma * w.norm().item()) / 2**0.5))
    assert abs(shares[1].item() - expected) < 5 * (expected * (1 - expected) / samples) ** 0.5 + 2 / samples


def test_without_votes_that_differ_it_is_the_network() -> None:
    """Noise that moves nothing: every copy votes as the image itself."""
    network = SmallCnn(width=2).network(1, 8, 8, 10).eval()
    x = torch.rand(6, 1, 8, 8, generator=generator())
    smoothed = NoiseVote(network, torch.full((1, 1, 1), 1e-9), 7, 10).eval()
    p = network(x).softmax(1)
    expected = ((7 * F.one_hot(network(x).argmax(1), 10) + p) / 8).log()
    torch.testing.assert_close(smoothed(x), expected, rtol=1e-4, atol=1e-4)


class Seen(nn.Module):
    """Keeps what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        return x.flatten(1)[:, :10]


@pytest.mark.parametrize("training", [True, False])
def test_noise_is_measured_in_pixels(training: bool) -> None:
    """Behind the normalisation: of deviation sigma / std there, not clipped, and drawn for every pixel of every image."""
    model = NoiseSmoothed(sigma=0.5, samples=1).build(Digits(validation=60)).train(training)
    assert isinstance(model, nn.Sequential)
    normalise, vote, seen = model[0], model[1], Seen()
    assert isinstance(normalise, Normalise)
    assert isinstance(vote, NoiseVote)
    vote.network = seen
    x = torch.rand(500, 1, 8, 8, generator=generator())
    answers(model, x)
    noise = (seen.x - normalise(x)) * normalise.std
    assert abs(noise.std().item() / 0.5 - 1) < 5 / (2 * noise.numel()) ** 0.5
    assert abs(noise.mean().item()) < 5 * 0.5 / noise.numel() ** 0.5
    assert (x + noise).min() < -1
    first = noise[0]
    assert not torch.isclose(noise[1:], first).all((1, 2, 3)).any()
    correlation = np.corrcoef(noise[:, 0, 0, 0].numpy(), noise[:, 0, 0, 1].numpy())[0, 1]
    assert abs(correlation) < 5 / 500**0.5


def test_auxiliary_heads_vote_apart() -> None:
    """A head's votes are shares of its own: neither head takes from the other's."""
    inner = nn.Sequential(nn.Flatten(), nn.Linear(4, 7))
    model = nn.Sequential(NoiseVote(inner, torch.ones(1, 1, 1), 5, 4), ClassLogits(4)).eval()
    heads = model[1]
    assert isinstance(heads, ClassLogits)
    heads.all = True
    both = answers(model, torch.rand(3, 1, 2, 2)).exp()
    torch.testing.assert_close(both[:, :4].sum(1), torch.ones(3))
    torch.testing.assert_close(both[:, 4:].sum(1), torch.ones(3))


def test_the_base_says_what_it_needs() -> None:
    from robustray.errors import UserError

    with pytest.raises(UserError, match=r"cnn2 needs images of at least 16x16"):
        NoiseSmoothed.model_validate({"base": "cnn2"}).build(Digits(validation=60))


def test_no_vote_of_votes() -> None:
    for base in ("noise_smoothed", {"name": "noise_smoothed", "sigma": 1}, NoiseSmoothed()):
        with pytest.raises(ValidationError):
            NoiseSmoothed.model_validate({"base": base})
    from robustray.options.mistakes import mistakes

    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate({"judge": JUDGE, "model": {"name": "noise_smoothed", "base": "noise_smoothed"}})
    [what] = mistakes(caught.value, TrialConfig).values()
    assert "there is no model 'noise_smoothed'" in what


SMOOTHED: dict[str, Any] = {
    "model": {
        "name": "noise_smoothed",
        "base": {"name": "small_cnn", "width": 2, "dropout": 0.3},
        "samples": 3,
        "sigma": 0.1,
    }
}


def test_stopped_after_every_step(tmp_path: Path) -> None:
    """Noise included: the same bits as without the stop."""
    stopped_after_every_step(trial(**SMOOTHED, defense="natural"), tmp_path)


def test_trained_against_an_adversary(tmp_path: Path) -> None:
    """An attack in eval mode climbs the votes' gradient."""
    stopped_after_every_step(trial(**SMOOTHED, defense="adversarial"), tmp_path)


def test_measuring_is_a_function_of_the_weights() -> None:
    config = trial(**SMOOTHED)
    model, data = config.model.build(config.judge.data), config.judge.data.load("validation")
    attack = config.judge.cheap.bind(config.judge.threat)
    world = torch.get_rng_state()
    found = {accuracies(model, DeviceImages(data, torch.device("cpu")), attack) for _ in range(3)}
    assert len(found) == 1
    assert torch.equal(torch.get_rng_state(), world)


def test_the_judge_finds_it_randomised_and_rand_judges_it(command: Command, tmp_path: Path) -> None:
    """Flagged by every other version, not by rand; the same verdicts in another folder."""
    Trainer(trial(**SMOOTHED, defense="natural"), tmp_path / "0001", device="cpu").run()
    plain = command.judge("0001", "--version", "apgd-ce", "--images", "12")
    assert list(plain.result["flags"]) == ["randomised"]
    found: list[Verdicts] = []
    for results in ("a", "b"):
        rand = command.judge("0001", "--version", "rand", "--images", "6", "--results", results)
        assert rand.result["flags"] == {}
        found.append(Verdicts.read(rand.folder, ["apgd-ce", "apgd-dlr"]))
    assert same_verdicts(*found)


@pytest.mark.parametrize("name", ["sigma", "samples"])
def test_weights_of_one_noise_load_into_another(name: str, make: Callable[..., nn.Module]) -> None:
    """What is voted with is what the options say: nothing of it lies among the weights."""
    state = make().state_dict()
    other = make(**{name: 1})
    other.load_state_dict(state)
    assert {key.partition(".")[2].partition(".")[0] for key in state if key.startswith("1.")} == {"network"}


@pytest.fixture
def make() -> Callable[..., nn.Module]:
    return lambda **options: NoiseSmoothed(base=SmallCnn(width=2), **options).build(Digits(validation=60))
