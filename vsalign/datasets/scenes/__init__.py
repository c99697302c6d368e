"""Rendered pictures of coloured shapes with captions and the true box of every phrase."""

from __future__ import annotations

from vsalign.datasets.scenes.files import (
    ScenesSummary,
    SceneTruth,
    read_objects,
    read_phrases,
    write_scenes,
)
from vsalign.datasets.scenes.layout import COLOURS, SHAPES, Scene, SceneObject, make_scene

__all__ = [
    "COLOURS",
    "SHAPES",
    "Scene",
    "SceneObject",
    "SceneTruth",
    "ScenesSummary",
    "make_scene",
    "read_objects",
    "read_phrases",
    "write_scenes",
]
