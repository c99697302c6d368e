"""The web application: the page, the pictures, and the API that /openapi.json describes."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

import pyarrow as pa
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from vsalign.errors import ConfigurationError, InputError
from vsalign.pictures.palette import colour_classes
from vsalign.search.queries import Query as SearchQuery
from vsalign.search.server.answers import Answer, Failure, IndexFacts, key_of
from vsalign.search.server.line import MOST_SHOWN, Busy, Line, Search
from vsalign.search.server.opened import OpenIndex
from vsalign.search.server.pictures import PICTURE, THUMBNAIL, Pictures
from vsalign.search.server.remembered import Remembered
from vsalign.search.wanted import Wanted

MOST_LETTERS = 10_000
"""Of a sentence; only its first words count anyway."""
MOST_IN_PART = 100
"""Images of one answer."""
MOST_PLACES = 16
"""Places that wait to be looked at: each takes the extractor a second or so."""
PLACES_REMEMBERED = 256
KEPT_BY_BROWSERS = {"cache-control": "private, max-age=600"}
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}
ASSETS = ("page.html", "page.css", "page.js", "api.js", "grid.js", "picture.js", "icon.svg")
SAID: dict[int | str, dict[str, Any]] = {status: {"model": Failure} for status in (401, 403, 404, 422, 503)}

Text = Annotated[str, Query(max_length=1000)]
Pixels = Annotated[int, Query(ge=0, le=1_000_000)]
Offset = Annotated[int, Query(ge=0, le=MOST_SHOWN)]
Limit = Annotated[int, Query(ge=1, le=MOST_IN_PART)]
Side = Annotated[float | None, Query(description="px of the upright picture")]


def wanted_of(path: Text = "", caption: Text = "", min_width: Pixels = 0, min_height: Pixels = 0) -> Wanted:
    """Where it is looked for, out of the query."""
    return Wanted(path=path, caption=caption, min_width=min_width, min_height=min_height)


def part_of(offset: Offset = 0, limit: Limit = 24) -> tuple[int, int]:
    """Which part of what is found, out of the query."""
    if offset + limit > MOST_SHOWN:
        raise ConfigurationError(f"offset + limit is {offset + limit}: only the first {MOST_SHOWN} are shown")
    return offset, limit


InWanted = Annotated[Wanted, Depends(wanted_of)]
InPart = Annotated[tuple[int, int], Depends(part_of)]


class Service:
    """What the routes share."""

    def __init__(self, index: OpenIndex, images: str | None) -> None:
        self.index = index
        self.line = Line(index.current)
        self.pictures = Pictures(images)
        self._extraction = ThreadPoolExecutor(1, "extraction")
        self._places: Remembered[SearchQuery] = Remembered(PLACES_REMEMBERED, lambda _: 1)
        self._looking = 0

    def row(self, number: int, key: str) -> dict[str, Any]:
        """The row of a picture that the index lists; raises HTTPException (404) for another one."""
        try:
            row = self.index.current().picture(number)
        except LookupError:
            raise HTTPException(404, "the index has no picture of this number") from None
        if key and key != key_of(row["image_id"]):
            raise HTTPException(404, "the index has changed, and this number is another picture's: search again")
        return row

    async def place(self, number: int, row: dict[str, Any], box: tuple[float, ...]) -> Search:
        """The question for what looks like a box of a picture; raises as Pictures.read and Asker.place_in."""
        asker = self.index.current().asker
        place_key = (asker.space.sha256, number, row["image_id"], box)
        query = self._places.get(place_key)
        if query is None:
            if self._looking >= MOST_PLACES:
                raise Busy
            self._looking += 1
            try:
                data = (await self.pictures.read(row)).content()
                loop = asyncio.get_running_loop()
                query = await loop.run_in_executor(self._extraction, asker.place_in, data, row["image_id"], box)
            finally:
                self._looking -= 1
            self._places.put(place_key, query)
        return Search(place=query, place_key=place_key)

    async def answer(self, search: Search) -> Answer:
        """Wait in line for it."""
        return Answer.of(await asyncio.wrap_future(self.line.ask(search)), search.offset)

    def close(self) -> None:
        """End the threads."""
        self._extraction.shutdown(cancel_futures=True)
        self.pictures.close()
        self.line.close()
        self.index.close()


def application(index: OpenIndex, images: str | None = None) -> FastAPI:
    """The application of an index; images: where the archive is now, None where it never moved.

    Its threads end with it, or by app.state.service.close().
    """
    service = Service(index, images)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        yield
        service.close()

    app = FastAPI(title="vsalign search", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    _add_searches(app, service)
    _add_pictures(app, service)
    _add_page(app)
    _add_failures(app)
    return app


def _add_searches(app: FastAPI, service: Service) -> None:
    @app.get("/api/index", responses=SAID)
    async def index() -> IndexFacts:
        """What there is to search."""
        return IndexFacts.of(service.index.current())

    @app.get("/api/search", responses=SAID)
    async def search(
        q: Annotated[str, Query(max_length=MOST_LETTERS, description="what the picture shows")],
        wanted: InWanted,
        part: InPart,
    ) -> Answer:
        """Pictures that fit a sentence."""
        return await service.answer(Search(sentence=q, wanted=wanted, offset=part[0], limit=part[1]))

    @app.get("/api/like", responses=SAID)
    async def like(
        number: Annotated[int, Query(ge=0)],
        wanted: InWanted,
        part: InPart,
        key: Text = "",
        x1: Side = None,
        y1: Side = None,
        x2: Side = None,
        y2: Side = None,
    ) -> Answer:
        """Pictures with a place that looks like a box of a picture of the index, or like the whole of it."""
        sides = tuple(side for side in (x1, y1, x2, y2) if side is not None)
        if len(sides) not in (0, 4):
            raise ConfigurationError("a box has four sides: give x1, y1, x2 and y2, or none for the whole picture")
        place = await service.place(number, service.row(number, key), sides)
        found = Search(place=place.place, place_key=place.place_key, wanted=wanted, offset=part[0], limit=part[1])
        return await service.answer(found)


def _add_pictures(app: FastAPI, service: Service) -> None:
    async def shown(number: int, key: str, longest: int) -> Response:
        data = await service.pictures.jpeg(service.row(number, key), longest)
        return Response(data, media_type="image/jpeg", headers=KEPT_BY_BROWSERS)

    @app.get("/thumbnails/{number}", response_class=Response, responses=SAID)
    async def thumbnail(number: int, key: Text = "") -> Response:
        """A small JPEG of a picture, upright."""
        return await shown(number, key, THUMBNAIL)

    @app.get("/pictures/{number}", response_class=Response, responses=SAID)
    async def picture(number: int, key: Text = "") -> Response:
        """A JPEG of a picture, upright, as large as a screen shows it."""
        return await shown(number, key, PICTURE)


def _add_page(app: FastAPI) -> None:
    folder = resources.files("vsalign.search.server").joinpath("assets")
    assets = {name: folder.joinpath(name).read_bytes() for name in ASSETS}
    assets["palette.css"] = colour_classes().encode()

    def sent(name: str) -> Response:
        media_type = TYPES[name.rpartition(".")[2]]
        return Response(assets[name], media_type=media_type, headers={"cache-control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return sent("page.html")

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str) -> Response:
        if name not in assets:
            raise HTTPException(404, "the page has no such part")
        return sent(name)


def _add_failures(app: FastAPI) -> None:
    def said(status: int, failure: Failure, headers: dict[str, str] | None = None) -> JSONResponse:
        told = {"error": failure.error} | ({"reason": failure.reason} if failure.reason else {})
        return JSONResponse(told, status, headers)

    @app.exception_handler(InputError)
    async def bad_original(_: Request, error: InputError) -> JSONResponse:
        return said(*Failure.of(error))

    @app.exception_handler(ConfigurationError)
    async def bad_question(_: Request, error: ConfigurationError) -> JSONResponse:
        return said(422, Failure(str(error)))

    @app.exception_handler(pa.ArrowException)
    async def bad_filter(_: Request, error: pa.ArrowException) -> JSONResponse:
        return said(422, Failure("the filter cannot be used: give a shorter pattern"))

    @app.exception_handler(RequestValidationError)
    async def bad_value(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return said(422, Failure(f"{first['loc'][-1]}: {first['msg'][:1].lower()}{first['msg'][1:]}"))

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> JSONResponse:
        return said(503, Failure("too many questions are waiting: ask again in a moment"), {"retry-after": "2"})

    @app.exception_handler(StarletteHTTPException)
    async def refused(_: Request, error: StarletteHTTPException) -> JSONResponse:
        plain = {"Not Found": "there is nothing at this address", "Method Not Allowed": "only GET is answered here"}
        return said(error.status_code, Failure(plain.get(error.detail, error.detail)))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        return said(500, Failure("the server failed at this: its terminal says why"))
