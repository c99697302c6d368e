"""What the detectron2 extractor is given: configs, weights and the package itself; each mistake is one sentence."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch

from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.regions.detectron import Detectron2

ZOO_NAME = "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """A state dict of no detector: a config's mistakes are found before it is compared with a model."""
    torch.save({"weight": torch.zeros(3)}, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


@pytest.mark.detectron2
def test_a_name_of_the_model_zoo_is_its_file(weights) -> None:
    import detectron2

    file = Path(str(detectron2.__file__)).parent / "model_zoo" / "configs" / ZOO_NAME
    for config in (ZOO_NAME, str(file)):
        with pytest.raises(ModelError, match=r"not those of .*FPN_1x.yaml: \d+ of its \d+ tensors are absent, such as"):
            Detectron2(config, weights)


@pytest.mark.detectron2
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("MODEL: {META_ARCHITECTURE: RetinaNet}", "is of a RetinaNet, which has no head for boxes"),
        ("MODEL: {META_ARCHITECTURE: ProposalNetwork}", "is of a ProposalNetwork"),
        ("MODEL: {ROI_HEADS: {NAME: OurHeads}}", "cannot build the model of .*OurHeads"),
        ("MODEL: {PROPOSAL_GENERATOR: {NAME: PrecomputedProposals}}", "reads its proposals from a file"),
        ("MODEL: {ROI_BOX_HEAD: {POOLER_TYPE: ROIAlignRotated}}", "finds rotated boxes"),
        ("MODEL: {OURS: 1}", "no config that detectron2 can read: .*OURS"),
        ("INPUT: {FORMAT: YUV-BT.601}", "config.yaml wants pictures as YUV-BT.601"),
        ("INPUT: {MIN_SIZE_TEST: 0}", "resizes no picture: give a size"),
        ("_BASE_: absent.yaml", "no config that detectron2 can read"),
        ("words alone", "no config that detectron2 can read"),
        ("", "no config that detectron2 can read"),
        ("a: [", "no config that detectron2 can read"),
        ("\x00", "no config that detectron2 can read"),
        ("OUTPUT_DIR: !!python/object/apply:os.getcwd []", "no config that detectron2 can read"),
    ],
)
def test_configs_that_cannot_be_used_are_one_sentence(weights, tmp_path, content: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match=message) as raised:
        Detectron2(str(tmp_path / "config.yaml"), weights)
    assert "\n" not in str(raised.value)


@pytest.mark.detectron2
def test_a_config_that_is_not_there_is_named(weights, tmp_path) -> None:
    for config in (str(tmp_path), "COCO-Detection", "nowhere.yaml"):
        with pytest.raises(MissingInputError, match=f"there is no config {config}: name a YAML file"):
            Detectron2(config, weights)


class Payload:
    """A pickle that would run code where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_of_code_is_refused_and_not_run(tmp_path) -> None:
    for thing in (Payload(tmp_path / "ran"), {"model": Payload(tmp_path / "ran")}, {"model": {"x": 3}}, {"model": {}}):
        torch.save(thing, tmp_path / "evil.pth")
        with pytest.raises(ModelError, match="evil.pth is no "):
            Detectron2(ZOO_NAME, str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_refused_unread(tmp_path) -> None:
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(ModelError, match=r"model_final.pkl is pickled.*torch.save\(model.state_dict\(\), ...\)$"):
        Detectron2("config.yaml", str(tmp_path / "model_final.pkl"))
    assert not (tmp_path / "ran").exists()


def test_without_the_package_one_sentence_says_how_to_install_it(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(ConfigurationError, match="needs the package detectron2 .* not on PyPI: install it as https://"):
        Detectron2("config.yaml", "weights.pth")


def test_a_config_and_weights_must_be_given() -> None:
    with pytest.raises(ConfigurationError, match="needs --extractor.model"):
        Detectron2("", "weights.pth")
    with pytest.raises(ConfigurationError, match="needs --extractor.weights"):
        Detectron2("config.yaml", "")
