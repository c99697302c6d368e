"""The alignment model against the paper's equations, sentence by sentence and step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.alignment.model import RegionProjection
from vsalign.alignment.words import BRNN, BiGRU
from vsalign.errors import ConfigurationError

CONFIG = AlignmentModelConfig(h=7, hidden=6, word_dim=5, dropout=0.5)


def brnn(seed: int = 0) -> BRNN:
    """A BRNN in float64 whose weights are all random."""
    torch.manual_seed(seed)
    model = BRNN(20, CONFIG).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def by_the_paper(model: BRNN, words: list[int]) -> list[Tensor]:
    """s_t of one sentence, by section 3.1.2's equations as they stand."""

    def f(z: Tensor) -> Tensor:
        return z.clamp(min=0)

    e = [f(model.W_e.weight @ model.W_w.weight[word] + model.W_e.bias) for word in words]
    nothing = torch.zeros(CONFIG.hidden, dtype=torch.float64)
    forward, backward = [nothing], [nothing]
    for t in range(len(words)):
        forward.append(f(e[t] + model.W_f.weight @ forward[-1] + model.W_f.bias))
    for t in reversed(range(len(words))):
        backward.append(f(e[t] + model.W_b.weight @ backward[-1] + model.W_b.bias))
    both = [hf + hb for hf, hb in zip(forward[1:], reversed(backward[1:]), strict=True)]
    return [f(model.W_d.weight @ h + model.W_d.bias) for h in both]


def padded(sentences: list[list[int]], width: int, fill: int) -> Tensor:
    return torch.tensor([words + [fill] * (width - len(words)) for words in sentences])


@pytest.mark.parametrize("fill", [0, 13])
@pytest.mark.parametrize("width", [6, 9])
def test_brnn_is_the_paper_s_whatever_the_padding_and_the_order(fill: int, width: int) -> None:
    model = brnn()
    sentences = [[3, 4], [5, 6, 7, 8, 9, 10], [11], [], [3, 3, 3, 3], [12, 4]]
    expected = torch.stack([s for words in sentences for s in by_the_paper(model, words)])

    found = model(padded(sentences, width, fill), torch.tensor([len(words) for words in sentences]))

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_brnn_gradients_are_those_of_the_plain_loop() -> None:
    sentences = [[3], [4, 5, 6, 3], [7, 8]]
    gradients = []
    for plain in (True, False):
        model = brnn(1)
        if plain:
            s = torch.stack([s for words in sentences for s in by_the_paper(model, words)])
        else:
            s = model(padded(sentences, 5, 0), torch.tensor([1, 4, 2]))
        s.square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])

    torch.testing.assert_close(gradients[0], gradients[1])


def test_the_gru_reads_a_sentence_alike_in_any_company() -> None:
    torch.manual_seed(0)
    model = BiGRU(9, AlignmentModelConfig(h=5, hidden=7, word_dim=3, text="gru")).eval()
    sentences = [[4, 5, 6], [7], [], [8, 4]]
    together = model(padded(sentences, 5, 0), torch.tensor([3, 1, 0, 2]))

    alone = [model(torch.tensor([words]), torch.tensor([len(words)])) for words in sentences if words]
    torch.testing.assert_close(together, torch.cat(alone))
    x = model.W_w(torch.tensor([4, 5, 6]))
    states, _ = model.units(x)
    torch.testing.assert_close(alone[0], model.W_d((states[:, :7] + states[:, 7:]) / 2))


def test_no_sentence_and_no_word_give_no_vector() -> None:
    model = brnn()

    assert model(torch.zeros(0, 4, dtype=torch.long), torch.zeros(0, dtype=torch.long)).shape == (0, 7)
    assert model(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, dtype=torch.long)).shape == (0, 7)


def test_region_projection_is_an_affine_function_of_the_feature() -> None:
    torch.manual_seed(0)
    projection = RegionProjection(4, CONFIG).double().eval()
    mean = torch.tensor([1.0, -2.0, 0.5, 3.0])
    projection.standardise(mean, 2.5)
    a, b = torch.randn(2, 3, 4, dtype=torch.float64).unbind()

    torch.testing.assert_close(projection(mean.double()), projection.W_m.bias)
    torch.testing.assert_close(projection(0.3 * a + 0.7 * b), 0.3 * projection(a) + 0.7 * projection(b))
    steepness = torch.autograd.functional.jacobian(projection, a[0])
    torch.testing.assert_close(steepness / steepness[0, 0], projection.W_m.weight / projection.W_m.weight[0, 0])


def test_the_scale_of_the_features_does_not_matter_once_standardised() -> None:
    torch.manual_seed(0)
    projection = RegionProjection(4, CONFIG).double().eval()
    features, mean = torch.randn(3, 4, dtype=torch.float64), torch.randn(4)
    projection.standardise(mean, 2.0)
    before = projection(features)

    projection.standardise(1000 * mean, 2000.0)

    torch.testing.assert_close(projection(1000 * features), before, rtol=1e-5, atol=1e-6)


def test_dropout_is_off_when_evaluating_and_on_when_training() -> None:
    torch.manual_seed(0)
    model = AlignmentModel(4, 20, CONFIG)
    inputs = torch.randn(2, 3, 4), torch.tensor([[3, 4], [5, 0]]), torch.tensor([2, 1])

    model.eval()
    for one, other in zip(model(*inputs), model(*inputs), strict=True):
        assert torch.equal(one, other)
    model.train()
    for one, other in zip(model(*inputs), model(*inputs), strict=True):
        assert not torch.equal(one, other)


@pytest.mark.parametrize("sizes", [{"h": 0}, {"hidden": 0}, {"word_dim": -1}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_impossible_sizes_are_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=str(next(iter(sizes.values())))):
        AlignmentModelConfig(**sizes)  # type: ignore[arg-type]
