"""Drawn pictures as files, at any URL."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

from PIL import Image

from vsalign.errors import ConfigurationError
from vsalign.storage import Folder
from vsalign.storage.folder import split_url

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}


def require_format(url: str, option: str) -> None:
    """Raise ConfigurationError where the ending names no format that is written."""
    if PurePosixPath(url).suffix.lower() not in FORMATS:
        raise ConfigurationError(f"{option} {url}: give a name that ends in {', '.join(FORMATS)}")


def save_picture(picture: Image.Image, url: str) -> None:
    """Write it in the format of its ending; it appears whole."""
    folder, name = split_url(url)
    encoded = io.BytesIO()
    picture.save(encoded, FORMATS[PurePosixPath(name).suffix.lower()], quality=88)
    Folder(folder).replace(name, encoded.getvalue())
