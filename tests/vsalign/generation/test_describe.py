"""Images of a shard become descriptions rows, or error rows; a row does not hang on its company."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vsalign import tables
from vsalign.errors import ConfigurationError, InputError, Reason
from vsalign.generation import MRNN, DecodeOptions, DescriberConfig, beam_search
from vsalign.generation.describe import DescribeOptions, Describer, describe_shard, regions_of_shard
from vsalign.images import ReadImage
from vsalign.regions import Regions
from vsalign.regions.extract import Extracted, regions_batch
from vsalign.storage import Output, Stage, TableReader
from vsalign.text import END, SPECIAL_WORDS, START, UNK, Vocabulary

DIM = 6
WORDS = Vocabulary(["dog", "red", "ball", "runs", "a"])


def network(seed: int) -> MRNN:
    torch.manual_seed(seed)
    return MRNN(DIM, len(WORDS), DescriberConfig(hidden=8, word_dim=4)).eval()


def image(number: int, regions: int = 4) -> Extracted:
    """A picture with its whole image and `regions` - 1 boxes."""
    rng = np.random.default_rng(number)
    boxes = np.concatenate([[[0, 0, 20, 10]], rng.uniform(0, 10, (regions - 1, 4))]).astype("f4")
    features = (3 * rng.normal(size=(regions, DIM))).astype("f4")
    scores = np.linspace(1, 0.1, regions, dtype="f4")
    return Extracted(f"{number}.jpg", f"/photos/{number}.jpg", 20, 10, Regions(boxes, scores, features))


def describe(
    url: Path, images: Iterable[Any], describer: Describer, batch_size: int = 3
) -> tuple[list[dict[str, Any]], TableReader]:
    """The rows of a table of one shard."""
    output = Output(str(url), "descriptions", tables.DESCRIPTIONS, "caption_images", {})
    stage = Stage(output)
    stage.plan([[{"row": "all"}]], tables.pa.schema([("row", tables.pa.string())]), {})
    (task,) = stage.pending()
    describe_shard(images, describer.describe, batch_size, output.open_shard(task))
    stage.finish()
    reader = TableReader(str(url), "descriptions")
    return reader.read().to_pylist(), reader


def rounded(vector: np.ndarray) -> torch.Tensor:
    """A feature as the tables hold it."""
    return torch.from_numpy(vector.astype("<f2").astype("f4"))


def view(model: MRNN, feature: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """An image of one region."""
    context = model.encode(feature[None, None], torch.ones(1, 1, dtype=torch.bool))
    return context, torch.zeros(1, dtype=torch.long)


@torch.no_grad()
def argmax_sentence(model: MRNN, feature: np.ndarray, max_words: int) -> tuple[str, float]:
    """The greedy sentence, a word at a time, and its log-probability."""
    words: list[str] = []
    total = 0.0
    context, described = view(model, rounded(feature))
    state = model.start(context, described)
    while True:
        step = model.logits(state[0]).log_softmax(-1)[0, 0]
        step[[0, START, UNK]] = -torch.inf
        if len(words) == max_words:
            return " ".join(words), total + step[END].item()
        if not words:
            step[END] = -torch.inf
        word = int(step.argmax())
        total += step[word].item()
        if word == END:
            return " ".join(words), total
        words.append(WORDS.words[word])
        state = model.step(context, state, torch.tensor([[word]]))


def test_each_region_and_the_whole_image_get_their_own_models_sentence(tmp_path) -> None:
    whole, region = network(1), network(2)
    options = DescribeOptions(DecodeOptions(beam=3, max_words=6), region_beam=2, max_regions=2)
    images = [image(1), image(2, regions=2), image(3, regions=1)]
    rows, _ = describe(tmp_path / "table", images, Describer((whole, WORDS), (region, WORDS), options))
    for row, given in zip(rows, images, strict=True):
        assert (row["image_id"], row["uri"], row["width"], row["height"]) == (given.image_id, given.uri, 20, 10)
        alone = beam_search(whole, *view(whole, rounded(given.regions.features[0])), options.decode)
        assert row["caption"] == " ".join(WORDS.decode(alone.words[0]))
        assert (row["log_prob"], row["finished"]) == (pytest.approx(alone.log_probs[0], abs=1e-5), alone.finished[0])
        assert len(row["regions"]) == min(2, len(given.regions.boxes) - 1)  # region 0 is the caption
        for place, found in enumerate(row["regions"], start=1):
            assert found["box"] == given.regions.boxes[place].tolist()
            assert found["score"] == pytest.approx(float(given.regions.scores[place]))
            feature = view(region, rounded(given.regions.features[place]))
            sentence = beam_search(region, *feature, DecodeOptions(beam=2, max_words=6))
            assert found["caption"] == " ".join(WORDS.decode(sentence.words[0]))
            assert found["log_prob"] == pytest.approx(sentence.log_probs[0], abs=1e-5)


def test_a_region_beam_of_one_is_the_argmax(tmp_path) -> None:
    model = network(4)
    with torch.no_grad():
        model.W_oh.bias[END] += 1.0  # so that sentences end
    given = image(5, regions=9)
    options = DescribeOptions(DecodeOptions(max_words=12))
    ((row,), _) = describe(tmp_path / "table", [given], Describer((model, WORDS), options=options))
    finished = 0
    for found, feature in zip(row["regions"], given.regions.features[1:], strict=True):
        caption, log_prob = argmax_sentence(model, feature, 12)
        if len(caption.split()) < 12:
            finished += 1
            assert (found["caption"], found["log_prob"]) == (caption, pytest.approx(log_prob, abs=1e-4))
    assert finished


def test_special_words_never_stand_in_a_text(tmp_path) -> None:
    model = network(6)
    with torch.no_grad():
        model.W_oh.bias[[0, START, UNK]] += 20.0
        model.W_oh.bias[END] -= 1e4
    ((row,), _) = describe(tmp_path / "table", [image(7)], Describer((model, WORDS)))
    texts = [row["caption"], *(region["caption"] for region in row["regions"])]
    assert not {*SPECIAL_WORDS} & {word for text in texts for word in text.split()}
    assert all(len(text.split()) == DecodeOptions().max_words for text in texts)
    assert row["finished"] is False


def failed(name: str, reason: Reason, archive_level: bool = False) -> tuple[ReadImage, InputError]:
    error = InputError(reason, f"/photos/{name}: as asked", f"/photos/{name}")
    return ReadImage(name, f"/photos/{name}", error=error, archive_level=archive_level), error


def test_what_cannot_be_used_becomes_an_error_row_and_changes_no_other_row(tmp_path) -> None:
    describer = Describer((network(8), WORDS))
    good = [image(number) for number in range(7)]
    wild = image(90)
    wild.regions.features[2, 1] = np.inf
    rows, _ = describe(tmp_path / "good", good, describer)
    mixed: list[Any] = [failed("x.jpg", Reason.EMPTY), *good[:2], wild, *good[2:5], failed("y.jpg", Reason.TRUNCATED)]
    mixed += [*good[5:], failed("photos.tar", Reason.INCOMPLETE, archive_level=True)]
    among_bad, reader = describe(tmp_path / "mixed", mixed, describer)
    assert among_bad == rows  # batches are formed after bad inputs are out
    assert reader.manifest["errors"] == {"EMPTY": 1, "NOT_FINITE": 1, "TRUNCATED": 1}
    assert reader.manifest["archive_errors"] == {"INCOMPLETE": 1}
    assert reader.manifest["inputs"] == 10
    assert {row["uri"] for row in reader.errors().to_pylist()} == {
        f"/photos/{name}" for name in ("x.jpg", "90.jpg", "y.jpg", "photos.tar")
    }


def test_the_regions_of_a_table_are_described_as_the_pictures_own(tmp_path) -> None:
    """A regions table holds float16; so are the features of pictures rounded before they are described."""
    describer = Describer((network(9), WORDS))
    images = [image(number, regions=2 + number % 3) for number in range(5)]
    properties = {"extractor": {"dim": DIM}}
    output = Output(str(tmp_path / "regions"), "regions", tables.regions_schema(DIM), "test", {}, properties)
    stage = Stage(output)
    stage.plan([[{"row": "all"}]], tables.pa.schema([("row", tables.pa.string())]), {})
    (task,) = stage.pending()
    writer = output.open_shard(task)
    for each in images:
        half = Regions(each.regions.boxes, each.regions.scores, each.regions.features.astype("<f2"))
        writer.write(regions_batch([Extracted(each.image_id, each.uri, each.width, each.height, half)]))
    writer.commit(len(images))
    stage.finish()
    table = TableReader(str(tmp_path / "regions"), "regions")
    from_table, _ = describe(tmp_path / "from table", regions_of_shard(table, 0), describer)
    from_pictures, _ = describe(tmp_path / "from pictures", images, describer)
    assert from_table == from_pictures


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="region_beam 0"):
        DescribeOptions(region_beam=0)
    with pytest.raises(ConfigurationError, match="max_regions -1"):
        DescribeOptions(max_regions=-1)
