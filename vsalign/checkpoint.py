"""A model is a folder: model.safetensors, vocabulary.json, model_card.md and, written last, config.json.

config.json names the kind of model, its sizes, the extractor whose features it was trained on, and the SHA-256 of
the weights and the vocabulary; a folder without it is no model yet. A detector has no vocabulary; one on a backbone of
timm carries that too, in backbone.safetensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from vsalign.alignment import AlignmentModel, AlignmentModelConfig, SentenceReader
from vsalign.errors import ConfigurationError, MissingInputError, ModelError
from vsalign.generation import DESCRIBERS, DescriberConfig, DescriberNetwork
from vsalign.model_card import model_card
from vsalign.regions.detector import Detector, DetectorConfig
from vsalign.storage import Folder
from vsalign.text import Vocabulary


def _describer(feature_dim: int, vocabulary_size: int, config: DescriberConfig) -> DescriberNetwork:
    return DESCRIBERS[config.describer](feature_dim, vocabulary_size, config)


KINDS: dict[str, tuple[Callable[..., Any], type[Any]]] = {
    "alignment": (AlignmentModel, AlignmentModelConfig),
    "describer": (_describer, DescriberConfig),
}
CONFIG, WEIGHTS, VOCABULARY, CARD = "config.json", "model.safetensors", "vocabulary.json", "model_card.md"
BACKBONE = "backbone.safetensors"
FORMAT_VERSION = 1
DETECTOR = "detector"
"""The kind that has no words, and so no vocabulary."""
UNSAID = "those of its training data"
ENTRIES = (
    "kind", "model", "feature_dim", "vocabulary_size", "vocabulary_sha256", "weights_sha256", "extractor", "training"
)  # fmt: skip


@dataclass(frozen=True)
class LoadedModel:
    """A model and what it needs to be used."""

    url: str
    kind: str
    model: Any
    """AlignmentModel or DescriberNetwork, in evaluation mode."""
    vocabulary: Vocabulary
    extractor: dict[str, Any]
    """Identity of the extractor whose features it was trained on."""
    training: dict[str, Any]
    """The configuration it was trained with and the figures it reached."""
    weights_sha256: str
    language: dict[str, Any] = field(default_factory=dict)
    """Identity of the sentence encoder whose states it was trained on; empty: it has words of its own."""

    def reader(self, language: str = "") -> SentenceReader:
        """What reads sentences for an alignment model; `language`: folder of its sentence encoder, empty: packaged.

        Raises MissingInputError or ModelError where the encoder is absent, or is not the one it was trained with.
        """
        if not self.language:
            if language:
                raise ConfigurationError(f"the model {self.url} reads words without a sentence encoder: leave it out")
            return SentenceReader(self.vocabulary)
        from vsalign.language import Language

        found = Language(language)
        if found.identity() != self.language:
            raise ModelError(
                f"the model {self.url} was trained on states of {self.language}, the sentence encoder here is "
                f"{found.identity()}: name its folder"
            )
        return SentenceReader(self.vocabulary, found)


def save_model(
    url: str,
    kind: str,
    model: nn.Module,
    vocabulary: Vocabulary,
    extractor: dict[str, Any],
    training: dict[str, Any],
    language: dict[str, Any] | None = None,
    terms: str = "",
    about: str = "",
    half: bool = False,
) -> None:
    """Write a model folder at any fsspec URL, config.json last.

    language: identity of the sentence encoder that it reads sentences by. terms: of the data it was trained on, about:
    what else there is to say of it, both for its card. half: the weights are written as float16, half the size.
    """
    folder = Folder(url)
    weights = _weights_of(model.half() if half else model)
    config = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "model": asdict(model.config),  # type: ignore[call-overload]
        "feature_dim": model.feature_dim,
        "vocabulary_size": len(vocabulary),
        "vocabulary_sha256": vocabulary.sha256,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "extractor": extractor,
        "training": training,
        **({"language": language} if language else {}),
        **({"terms": terms} if terms else {}),
        **({"about": about} if about else {}),
    }
    folder.remove(CONFIG)
    folder.replace(WEIGHTS, weights)
    folder.replace(VOCABULARY, vocabulary.to_json().encode())
    folder.replace(CARD, model_card(config, UNSAID).encode())
    folder.replace(CONFIG, json.dumps(config, indent=1).encode())


@dataclass(frozen=True)
class Backbone:
    """A detector's own backbone, which no package brings."""

    tensors: Mapping[str, Tensor]
    """Its state dict, without classifier."""
    terms: str
    """Of its weights."""


@dataclass(frozen=True)
class LoadedDetector:
    """A detector (vsalign.regions.detector) and what it was trained on."""

    url: str
    model: Detector
    """In evaluation mode."""
    weights_sha256: str
    extractor: dict[str, Any]
    """Identity of the backbone whose maps it reads."""
    terms: str
    """Of the data it was trained on, as whoever trained it said."""
    training: dict[str, Any]
    """The configuration it was trained with, and the figures it reached."""
    backbone: Backbone | None
    """None where a package brings it."""


def save_detector(
    url: str,
    model: Detector,
    extractor: dict[str, Any],
    training: dict[str, Any],
    terms: str = "",
    backbone: Backbone | None = None,
) -> None:
    """Write a detector's folder (model.safetensors, model card, config.json last) at any fsspec URL.

    backbone: that which the folder is to bring along.
    """
    folder = Folder(url)
    weights = _weights_of(model)
    config = {
        "format_version": FORMAT_VERSION,
        "kind": DETECTOR,
        "model": asdict(model.config),
        "feature_dim": extractor["dim"],
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "extractor": extractor,
        "terms": terms or UNSAID,
        "training": training,
    }
    folder.remove(CONFIG)
    folder.remove(BACKBONE)
    if backbone is not None:
        carried = _bytes_of(backbone.tensors)
        config["backbone"] = {"sha256": hashlib.sha256(carried).hexdigest(), "terms": backbone.terms}
        folder.replace(BACKBONE, carried)
    folder.replace(WEIGHTS, weights)
    folder.replace(CARD, model_card(config, UNSAID).encode())
    folder.replace(CONFIG, json.dumps(config, indent=1).encode())


def load_detector(url: str) -> LoadedDetector:
    """The detector of a folder, its weights checked against their hash; raises MissingInputError or ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    config = read_config(url)
    weights = _read_weights(url, config, DETECTOR)
    try:
        sizes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in config["model"].items()
        }
        model = Detector(DetectorConfig(**sizes))
        model.load_state_dict(load(weights))
        backbone = None
        if own := config.get("backbone"):
            tensors = load(_read_file(url, BACKBONE, own["sha256"]))
            backbone = Backbone(tensors, str(own.get("terms") or UNSAID))
    except (
        SafetensorError, RuntimeError, TypeError, ValueError, KeyError, AttributeError, ConfigurationError
    ) as error:  # fmt: skip
        raise ModelError(
            f"{url}/{WEIGHTS} does not fit its {CONFIG} ({str(error).splitlines()[0]}): copy the model folder again"
        ) from error
    terms = str(config.get("terms") or UNSAID)
    facts = config["weights_sha256"], config["extractor"], terms, config["training"]
    return LoadedDetector(url, model.eval(), *facts, backbone)


def _weights_of(model: nn.Module) -> bytes:
    return _bytes_of(model.state_dict())


def _bytes_of(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _read_weights(url: str, config: dict[str, Any], kind: str) -> bytes:
    """The weights file of a model; raises ModelError for another kind than `kind`, and where it is not the config's."""
    if config["kind"] != kind:
        raise ModelError(
            f"{url} holds a model of the kind {config['kind']!r} where {kind!r} is needed: name another folder"
        )
    return _read_file(url, WEIGHTS, config["weights_sha256"])


def _read_file(url: str, name: str, sha256: str) -> bytes:
    """A file of a model; raises ModelError where it is absent, or has not that SHA-256."""
    try:
        content = Folder(url).read(name)
    except FileNotFoundError as error:
        raise ModelError(f"the model {url} lacks a file ({error}): copy the model folder again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{url}/{name} is not the file that {CONFIG} names: copy the model folder again")
    return content


def read_config(url: str) -> dict[str, Any]:
    """config.json of a model folder; raises MissingInputError where there is none, ModelError where it is damaged."""
    try:
        config = json.loads(Folder(url).read(CONFIG))
    except FileNotFoundError:
        raise MissingInputError(f"there is no model at {url} (no {CONFIG}): train one, or check the path") from None
    except ValueError as error:
        raise ModelError(f"{url}/{CONFIG} is no JSON ({error}): copy the model folder again") from error
    if not isinstance(config, dict) or config.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{url}/{CONFIG} is not of format version {FORMAT_VERSION}: train the model again with this vsalign"
        )
    needed = [name for name in ENTRIES if config.get("kind") != DETECTOR or not name.startswith("vocabulary")]
    if missing := [name for name in needed if name not in config]:
        raise ModelError(f"{url}/{CONFIG} lacks {', '.join(missing)}: copy the model folder again")
    return config


def load_model(url: str, kind: str) -> LoadedModel:
    """The model of a folder, its files checked against their hashes.

    Raises MissingInputError, or ModelError for another kind of model, altered weights or another vocabulary.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    config = read_config(url)
    weights = _read_weights(url, config, kind)
    folder = Folder(url)
    try:
        vocabulary = Vocabulary.from_json(folder.read(VOCABULARY).decode(errors="replace"))
    except FileNotFoundError as error:
        raise ModelError(f"the model {url} lacks a file ({error}): copy the model folder again") from error
    except ModelError as error:
        raise ModelError(f"{url}/{VOCABULARY}: {error}") from error
    if vocabulary.sha256 != config["vocabulary_sha256"]:
        raise ModelError(
            f"{url}/{VOCABULARY} is not the vocabulary that the model was trained with: copy the model folder again"
        )
    model_class, config_class = KINDS[kind]
    try:
        model = model_class(config["feature_dim"], config["vocabulary_size"], config_class(**config["model"]))
        model.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError, TypeError, ConfigurationError) as error:
        raise ModelError(
            f"{url}/{WEIGHTS} does not fit its {CONFIG} ({str(error).splitlines()[0]}): copy the model folder again"
        ) from error
    facts = config["extractor"], config["training"], config["weights_sha256"], config.get("language", {})
    return LoadedModel(url, kind, model.eval(), vocabulary, *facts)
