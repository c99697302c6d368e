"""A descriptions table in other people's forms: COCO results JSON, sidecar files, WebDataset tars."""

from vsalign.exports.command import Exports, export, main

__all__ = ["Exports", "export", "main"]
