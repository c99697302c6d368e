"""A small archive to search: files, a zip and a tar of rendered scenes under names of all kinds, indexed."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.jobs.conftest import write_regions, write_table
from tests.vsalign.search import random_archive
from vsalign import tables
from vsalign.alignment import AlignmentModel, AlignmentModelConfig
from vsalign.checkpoint import save_model
from vsalign.datasets.scenes.files import write_scenes
from vsalign.search import building
from vsalign.search.building import IndexOptions, build_index
from vsalign.storage import Output, TableReader
from vsalign.text import Vocabulary, tokenize

SCENES = 14
HOSTILE_NAMES = (
    '"><img src=x onerror=alert(1)>.jpg',
    "<script>alert(1)<\\script>.jpg",
    "سماء زرقاء.jpg",
    "a#b?c%20d 'e'.jpg",
)
HOSTILE_CAPTIONS = (
    "<script>document.title = 'taken'</script>",
    "\"'><img src=x onerror=\"document.title='taken'\">",
    "\u202eright to left and back\u202c, {{7*7}} ${7*7}",
    "a very long red circle " * 435,
)
"""The last has 10^4 characters."""


@dataclass(frozen=True)
class Archive:
    """Where everything is."""

    images: str
    regions: str
    model: str
    """Of random weights."""
    index: str


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return make_archive(tmp_path_factory.mktemp("archive"))


def make_archive(root: Path) -> Archive:
    """The archive below a folder."""
    made = Archive(*(str(root / name) for name in ("images", "regions", "model", "index")))
    write_scenes(str(root / "scenes"), SCENES, 0, {"train": 0.5, "tune": 0.25, "dev": 0.25})
    write_pictures(Path(made.images), sorted((root / "scenes/images").glob("*.jpg")))
    regions = write_regions(made.regions, made.images)
    texts = [line.split("\t")[1] for line in (root / "scenes/captions.txt").read_text("utf-8").splitlines()]
    vocabulary = Vocabulary.build([tokenize(text) for text in texts], 1)
    extractor = regions.properties["extractor"]
    torch.manual_seed(2)
    config = AlignmentModelConfig(h=16, hidden=16, word_dim=8, normalise=True, score="symmetric")
    model = AlignmentModel(extractor["dim"], len(vocabulary), config)
    save_model(made.model, "alignment", model, vocabulary, extractor, {})
    descriptions = write_descriptions(str(root / "descriptions"), regions)
    tables_of = {"regions": made.regions, "descriptions": descriptions}
    assert build_index(IndexOptions(**tables_of, model=made.model, output=made.index, dim=0)) == 0
    return made


def write_pictures(folder: Path, scenes: list[Path]) -> None:
    """The scenes: two in a folder, some under hostile names, two in a zip, two in a tar, the rest beside."""
    (folder / "holiday").mkdir(parents=True)
    for scene in scenes[:2]:
        shutil.copy(scene, folder / "holiday")
    for name, scene in zip(HOSTILE_NAMES, scenes[2:], strict=False):
        shutil.copy(scene, folder / name)
    with zipfile.ZipFile(folder / "packed.zip", "w") as packed:
        for scene in scenes[6:8]:
            packed.write(scene, f"inside/{scene.name}")
    with tarfile.open(folder / "packed.tar", "w") as packed_tar:
        for scene in scenes[8:10]:
            header = tarfile.TarInfo(scene.name)
            header.size = scene.stat().st_size
            packed_tar.addfile(header, io.BytesIO(scene.read_bytes()))
    for scene in scenes[10:]:
        shutil.copy(scene, folder)


def write_descriptions(url: str, regions: TableReader) -> str:
    """Captions of an archive's pictures: the hostile ones first."""
    rows = []
    for number, row in enumerate(regions.read(["image_id", "uri", "width", "height"]).to_pylist()):
        caption = HOSTILE_CAPTIONS[number] if number < len(HOSTILE_CAPTIONS) else f"a red circle, number {number}"
        said = {"caption": caption, "log_prob": -1.0, "finished": True, "regions": []}
        rows.append({**row, "content_hash": None, **said})
    write_table(Output(url, "descriptions", tables.DESCRIPTIONS, "test", {}), [rows])
    return url


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IndexOptions:
    """What an index of several shards of random features is made by."""
    monkeypatch.setattr(building, "IMAGES_A_SHARD", 20)
    random_archive.write_regions(str(tmp_path / "regions"))
    random_archive.write_model(str(tmp_path / "model"))
    names = {name: str(tmp_path / name) for name in ("regions", "model")}
    return IndexOptions(**names, output=str(tmp_path / "index"), dim=0, precision="float16")
