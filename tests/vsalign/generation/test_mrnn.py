"""The Multimodal RNN against the paper's equations, and its teacher-forced pass against step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vsalign.errors import ConfigurationError
from vsalign.generation import MRNN, DescriberConfig
from vsalign.text import START


def mrnn(seed: int = 0) -> MRNN:
    """An M-RNN in float64 whose weights are all random, and that has seen features of some mean and scale."""
    torch.manual_seed(seed)
    model = MRNN(4, 9, DescriberConfig(hidden=6, word_dim=5, dropout=0.5)).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.standardise(torch.randn(4), 1.7)
    return model


def by_the_paper(model: MRNN, feature: Tensor, words: list[int]) -> Tensor:
    """Logits (n + 1, vocabulary) of START and the words, by section 3.2's equations as they stand."""
    b_v = model.image_bias(feature[None])[0]
    h = torch.zeros(6, dtype=torch.float64)
    logits = []
    for t, word in enumerate([START, *words], start=1):
        z = model.W_hx.weight @ model.x.weight[word] + model.W_hh.weight @ h + model.W_hx.bias
        h = (z + (b_v if t == 1 else 0)).clamp(min=0)
        logits.append(model.W_oh.weight @ h + model.W_oh.bias)
    return torch.stack(logits)


def padded(sentences: list[list[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([[START, *words] + [fill] * (width - 1 - len(words)) for words in sentences])


SENTENCES = [[4, 5, 6], [], [7, 8, 4, 4, 5], [8]]


@pytest.mark.parametrize(("width", "fill"), [(6, 0), (9, 0), (6, 5)])
def test_teacher_forcing_is_the_paper_s_whatever_the_padding(width: int, fill: int) -> None:
    model = mrnn()
    features = torch.randn(4, 4, dtype=torch.float64)
    expected = torch.cat([by_the_paper(model, f, words) for f, words in zip(features, SENTENCES, strict=True)])

    found = model(features, padded(SENTENCES, width, fill), torch.tensor([len(words) + 1 for words in SENTENCES]))

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_teacher_forcing_is_the_model_step_by_step() -> None:
    model = mrnn(1)
    features = torch.randn(3, 4, dtype=torch.float64)
    inputs = padded([[4, 5], [6, 7], [8, 8]], 3, 0)
    h, logits = torch.zeros(3, 6, dtype=torch.float64), []
    for t in range(3):
        h = model.step(inputs[:, t], h, model.image_bias(features) if t == 0 else None)
        logits.append(model.logits(h))

    found = model(features, inputs, torch.tensor([3, 3, 3]))

    torch.testing.assert_close(found, torch.stack(logits, 1).flatten(0, 1), rtol=0, atol=1e-12)


def test_the_image_enters_as_a_standardised_affine_function_of_its_feature() -> None:
    model = mrnn()

    torch.testing.assert_close(model.image_bias(model.mean[None]), torch.zeros(1, 6, dtype=torch.float64))
    one, two = (model.image_bias((model.mean + k * torch.arange(4.0))[None].double()) for k in (1, 2))
    torch.testing.assert_close(two, 2 * one, rtol=1e-5, atol=1e-6)


def test_dropout_is_off_when_evaluating_and_on_when_training() -> None:
    model = mrnn()
    inputs = torch.randn(1, 4, dtype=torch.float64), padded([[4, 5]], 3, 0), torch.tensor([3])

    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    assert not torch.equal(model(*inputs), model(*inputs))


@pytest.mark.parametrize("sizes", [{"hidden": 0}, {"word_dim": -1}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_sizes_are_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(sizes.values())))):
        DescriberConfig(**sizes)  # type: ignore[arg-type]
