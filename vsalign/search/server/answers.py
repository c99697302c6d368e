"""What the API answers, as JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from vsalign.errors import InputError, Reason
from vsalign.search.hits import Hit, Place
from vsalign.search.index import SearchIndex
from vsalign.search.server.line import Result


@dataclass(frozen=True)
class Model:
    """What answers."""

    extractor: str
    """Whose regions it compares."""
    score: str
    text: str
    """How it reads sentences."""
    weights_sha256: str


@dataclass(frozen=True)
class IndexFacts:
    """What there is to search."""

    images: int
    captions: bool
    """Whether the pictures have captions."""
    model: Model

    @staticmethod
    def of(index: SearchIndex) -> IndexFacts:
        """Of an index."""
        configuration = index.table.manifest["configuration"]
        config = index.model.model.config
        model = Model(
            str(index.model.extractor["name"]), config.score, config.text, configuration["model"]["weights_sha256"]
        )
        return IndexFacts(index.kept, configuration["descriptions"] is not None, model)


@dataclass(frozen=True)
class FoundImage:
    """An image that was found."""

    number: int
    """Its number in the index: /thumbnails/NUMBER and /pictures/NUMBER show it."""
    key: str
    """Of its image_id: given with the number (?key=…), another picture is never shown in its place."""
    image_id: str
    """Its path below the archive's root."""
    score: float
    width: int
    height: int
    """px, of the upright picture."""
    caption: str
    """Empty where there is none."""
    places: list[Place]
    """What in it answers the question."""

    @staticmethod
    def of(hit: Hit) -> FoundImage:
        """Of a hit, without where the original is."""
        places = list(hit.places)
        size = (hit.width, hit.height)
        return FoundImage(hit.number, key_of(hit.image_id), hit.image_id, hit.score, *size, hit.caption, places)


@dataclass(frozen=True)
class Answer:
    """A part of what was found, the best first."""

    tokens: list[str]
    """The sentence's words; places name them by position."""
    unknown: list[str]
    """Of them, those that the model does not know."""
    offset: int
    hits: list[FoundImage]
    more: bool
    """Whether more follow."""

    @staticmethod
    def of(result: Result, offset: int) -> Answer:
        """Of a result."""
        found = [FoundImage.of(hit) for hit in result.hits]
        return Answer(list(result.query.tokens), list(result.query.unknown), offset, found, result.more)


@dataclass(frozen=True)
class Failure:
    """Why there is no answer."""

    error: str
    """One sentence."""
    reason: str = ""
    """Of an original that cannot be shown: a code of the errors table."""

    @staticmethod
    def of(error: InputError) -> tuple[int, Failure]:
        """The HTTP status and the sentence for an original; it tells no path."""
        status, why = _REFUSED.get(error.reason, (422, f"the original is no good picture ({error.reason})"))
        return status, Failure(why, str(error.reason))


_REFUSED = {
    Reason.UNSAFE_PATH: (403, "the original lies outside the archive"),
    Reason.NOT_FOUND: (404, "the original is not where it was indexed: `vsalign serve --images` says where it is now"),
    Reason.READ_FAILED: (502, "the original cannot be read now"),
    Reason.TIMED_OUT: (504, "the original did not come in time"),
}


def key_of(image_id: str) -> str:
    """Eight hexadecimal digits of an image's name."""
    return hashlib.blake2b(image_id.encode(), digest_size=4).hexdigest()
