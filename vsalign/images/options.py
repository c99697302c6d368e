"""Where a stage's pictures are, as options on its command line."""

from __future__ import annotations

from dataclasses import dataclass

from vsalign.images.reading import ReadOptions
from vsalign.images.sources import ImageInput, InputKind


@dataclass(frozen=True, kw_only=True)
class PictureOptions:
    """`vsalign.images.ImageInput`, whose `input` a stage calls --images."""

    images: str
    """Folder, glob, archive (.tar, .tar.gz, .zip), Parquet or Arrow file with a bytes column, list of URIs (.txt), or
    one picture; a path or a URL such as gs://bucket/photos."""
    kind: InputKind = "auto"
    """What --images is; auto: told by what is there and by its name's ending."""
    root: str = ""
    """For a list: what to strip from the front of each URI to make its image_id; empty: only the protocol."""
    bytes_column: str = ""
    """For Parquet: the column of encoded pictures; empty: found by type and name."""
    id_column: str = ""
    """For Parquet: the column of image ids; empty: image_id, path or __key__, else the row's position."""
    uri_column: str = ""
    """--images is a CSV or Parquet file, whose column of this name lists URIs."""

    def source(self, shard_size: int = ImageInput.shard_size) -> ImageInput:
        """The input, in shards of `shard_size` pictures."""
        return ImageInput(
            self.images,
            kind=self.kind,
            shard_size=shard_size,
            root=self.root,
            bytes_column=self.bytes_column,
            id_column=self.id_column,
            uri_column=self.uri_column,
        )

    @property
    def reading(self) -> ReadOptions:
        """How its archives and Parquet files are read."""
        return ReadOptions(bytes_column=self.bytes_column, id_column=self.id_column)
