"""What stands in a model folder for people."""

from __future__ import annotations

import json
from typing import Any


def model_card(config: dict[str, Any], unsaid: str) -> str:
    """The card of a model folder's configuration; terms that are `unsaid` are left out."""
    names = {
        "alignment": "Alignment model (regions and words in one space)",
        "describer": "Describer (sentences of images and regions)",
        "detector": "Detector (boxes of what captions name)",
    }
    training = json.dumps(config["training"], indent=1)
    vocabulary = ""
    if "vocabulary_size" in config:
        vocabulary = f"- Vocabulary: {config['vocabulary_size']} words, SHA-256 `{config['vocabulary_sha256']}`\n"
    language = ""
    if "language" in config:
        own = config["language"]
        language = f"- Sentence encoder: `{own['name']}`, weights SHA-256 `{own['weights_sha256']}`\n"
    backbone = ""
    if "backbone" in config:
        own = config["backbone"]
        backbone = f"- Backbone: `backbone.safetensors`, SHA-256 `{own['sha256']}`, under {own['terms']}\n"
    about = f"{config['about']}\n\n" if "about" in config else ""
    return (
        f"# {names[config['kind']]}\n\n"
        "Method: Karpathy and Fei-Fei, *Deep Visual-Semantic Alignments for Generating Image Descriptions* "
        "(CVPR 2015).\n\n"
        f"- Regions: `{config['extractor'].get('name')}`, {config['feature_dim']} numbers a region, "
        f"weights SHA-256 `{config['extractor'].get('weights_sha256')}`\n"
        f"{vocabulary}"
        f"{language}"
        f"- Weights: `model.safetensors`, SHA-256 `{config['weights_sha256']}`\n"
        f"{backbone}\n"
        "The model knows what its training data showed, and carries the terms of that data"
        f"{': ' + config['terms'] if config.get('terms', unsaid) != unsaid else ''}.\n\n"
        f"{about}"
        f"## Training\n\n```json\n{training}\n```\n"
    )
