"""The describers against their equations, and their teacher-forced pass against step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vsalign.errors import ConfigurationError
from vsalign.generation import DESCRIBERS, MRNN, Attention, DescriberConfig, DescriberNetwork
from vsalign.text import START

D, WORDS, HIDDEN = 4, 9, 6


def network(describer: Any = "mrnn", seed: int = 0, **more: Any) -> Any:
    """A describer in float64 whose weights are all random, and that has seen features of some mean and scale."""
    torch.manual_seed(seed)
    config = DescriberConfig(describer=describer, hidden=HIDDEN, word_dim=5, dropout=0.5, **more)
    model = DESCRIBERS[describer](D, WORDS, config).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.standardise(torch.randn(D), 1.7)
    return model


def by_the_paper(model: MRNN, b_v: Tensor, words: list[int]) -> Tensor:
    """Logits (n + 1, vocabulary) of START and the words, by section 3.2's equations as they stand."""
    h = torch.zeros(HIDDEN, dtype=torch.float64)
    logits = []
    for t, word in enumerate([START, *words], start=1):
        z = model.W_hx.weight @ model.x.weight[word] + model.W_hh.weight @ h + model.W_hx.bias
        h = (z + (b_v if t == 1 else 0)).clamp(min=0)
        logits.append(model.W_oh.weight @ h + model.W_oh.bias)
    return torch.stack(logits)


def with_attention(model: Attention, features: Tensor, described: int, words: list[int]) -> Tensor:
    """Logits (n + 1, vocabulary) of START and the words, by the equations of vsalign.generation.attention."""
    v = torch.relu(torch.nn.functional.layer_norm(
        (features - model.mean) / model.scale @ model.W_v.weight.t() + model.W_v.bias, (HIDDEN,),
        model.norm.weight, model.norm.bias,
    ))  # fmt: skip
    h, c, o = torch.tanh(model.W_0.weight @ v[described] + model.W_0.bias).split([HIDDEN, HIDDEN, 5])
    logits = []
    for word in [START, *words]:
        x = torch.cat([model.x.weight[word], o])
        gates = model.lstm.weight_ih @ x + model.lstm.bias_ih + model.lstm.weight_hh @ h + model.lstm.bias_hh
        i, f, g, out = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(out) * torch.tanh(c)
        a = ((model.W_q.weight @ h) @ v.t() / HIDDEN**0.5).softmax(0)
        o = torch.tanh(model.W_o.weight @ torch.cat([h, a @ v]) + model.W_o.bias)
        logits.append(model.x.weight @ o + model.b)
    return torch.stack(logits)


def padded(sentences: list[list[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([[[START, *words] + [fill] * (width - 1 - len(words))] for words in sentences])


SENTENCES = [[4, 5, 6], [], [7, 8, 4, 4, 5], [8]]
LENGTHS = torch.tensor([[len(words) + 1] for words in SENTENCES])
DESCRIBED = torch.tensor([0, 2, 1, 1])
MASK = torch.arange(3) < torch.tensor([1, 3, 2, 3])[:, None]


def pictures() -> Tensor:
    return torch.randn(4, 3, D, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("width", "fill"), [(6, 0), (9, 0), (6, 5)])
def test_the_multimodal_rnn_is_the_paper_s_whatever_the_padding(width: int, fill: int, whole: bool) -> None:
    model, features = network(whole=whole), pictures()
    seen = (features - model.mean) / model.scale
    expected = []
    for picture, described, words in zip(seen, DESCRIBED, SENTENCES, strict=True):
        b_v = model.W_hi.weight @ picture[described]
        expected.append(by_the_paper(model, b_v + model.W_hw.weight @ picture[0] if whole else b_v, words))

    found = model(features, MASK, DESCRIBED, padded(SENTENCES, width, fill), LENGTHS)

    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("width", "fill"), [(6, 0), (9, 5)])
def test_attention_is_its_equations_over_the_regions_that_are_there(width: int, fill: int) -> None:
    model, features = network("attention"), pictures()
    expected = [
        with_attention(model, picture[own], int(described), words)
        for picture, own, described, words in zip(features, MASK, DESCRIBED, SENTENCES, strict=True)
    ]

    found = model(features, MASK, DESCRIBED, padded(SENTENCES, width, fill), LENGTHS)

    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("describer", DESCRIBERS)
def test_several_texts_of_an_image_are_taught_as_one_by_one(describer: str) -> None:
    model, features = network(describer, 1), pictures()[:2]
    texts = [[[4, 5], [], [6]], [[8], [7, 7, 7], [5, 4]]]
    words = torch.cat([padded(own, 4, 0).transpose(0, 1) for own in texts])
    lengths = torch.tensor([[len(text) + 1 for text in own] for own in texts])
    context = MASK[:2], DESCRIBED[:2]

    found = model(features, *context, words, lengths)

    each = [
        model(features[n, None], MASK[n, None], DESCRIBED[n, None], words[n, None, k, None], lengths[n, None, k, None])
        for n in range(2)
        for k in range(3)
    ]
    torch.testing.assert_close(found, torch.cat(each), rtol=0, atol=1e-12)


@pytest.mark.parametrize("describer", DESCRIBERS)
def test_gradients_are_those_of_the_steps(describer: str) -> None:
    model, features = network(describer, 2), pictures().requires_grad_()
    model(features, MASK, DESCRIBED, padded(SENTENCES, 6, 0), LENGTHS).square().sum().backward()
    found, features.grad = features.grad, None
    context = model.encode(features, MASK)
    state = model.start(context, DESCRIBED)
    costs = []
    for t, word in enumerate([*padded(SENTENCES, 6, 0)[:, 0, 1:].unbind(1), None]):
        inside = LENGTHS[:, 0] > t
        costs.append(model.logits(state[0])[inside].square().sum())
        state = state if word is None else model.step(context, state, word[:, None])

    torch.stack(costs).sum().backward()

    torch.testing.assert_close(found, features.grad, rtol=1e-9, atol=1e-12)


def test_the_image_enters_as_a_standardised_affine_function_of_its_feature() -> None:
    model = network()
    mask = torch.ones(1, 1, dtype=torch.bool)

    def b_v(k: int) -> Tensor:
        found: Tensor = model.encode((model.mean + k * torch.arange(4.0))[None, None].double(), mask)[0]
        return found

    torch.testing.assert_close(b_v(0), torch.zeros(1, 1, 6, dtype=torch.float64))
    torch.testing.assert_close(b_v(2), 2 * b_v(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("describer", DESCRIBERS)
def test_dropout_is_off_when_evaluating_and_on_when_training(describer: str) -> None:
    model: DescriberNetwork = network(describer)
    inputs = pictures(), MASK, DESCRIBED, padded(SENTENCES, 6, 0), LENGTHS

    assert torch.equal(model(*inputs), model(*inputs))
    model.train()
    assert not torch.equal(model(*inputs), model(*inputs))


@pytest.mark.parametrize("sizes", [{"hidden": 0}, {"word_dim": -1}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_sizes_are_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(sizes.values())))):
        DescriberConfig(**sizes)  # type: ignore[arg-type]
