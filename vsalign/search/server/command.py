"""`vsalign serve`: an index, or a folder of photographs, on a local web page."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass

from vsalign.command import sigterm_as_exit
from vsalign.errors import ConfigurationError, MissingInputError
from vsalign.options import parse, with_names
from vsalign.search.index import SearchIndex
from vsalign.search.photographs import holds_index, index_of_photographs
from vsalign.search.server.guard import Guard, is_loopback, require_good_token
from vsalign.search.server.opened import OpenIndex

TOKEN_VARIABLE = "VSALIGN_TOKEN"
EVERYWHERE = ("0.0.0.0", "::")
SECONDS_TO_END = 5
"""What is being answered may take, when the server is stopped."""


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What `vsalign serve` is asked for; the name of the first option may be left out."""

    index: str
    """Folder or URL of an index. Or pictures: a folder, a glob, an archive, a list of URIs; they are indexed first by
    the packaged models, and what came since is taken in at each start."""
    host: str = "127.0.0.1"
    """Address to listen at. Another one than this machine's own asks for a token."""
    port: int = 8000
    """0: any that is free."""
    token: str = ""
    """What visitors have to bring (other users of this machine see the command line: the environment's VSALIGN_TOKEN is
    not seen); empty: none at 127.0.0.1, else one that is made up and printed."""
    images: str | None = None
    """Where the pictures' root is now, if no longer where the index says."""
    open: bool = True
    """Open the page in the browser of this desktop, if there is one."""
    model: str = ""
    """Folder of the alignment model, where it is not where it was when the index was made; for pictures, the one to
    use in place of the packaged one."""
    language: str = ""
    """Folder of the sentence encoder of a model of --model.text language; empty: the packaged one."""
    exact: bool = False
    """Compare all pictures also where the index has inverted lists (vsalign index --lists)."""
    work: str = ""
    """For pictures: folder of their tables and index; empty: NAME.vsalign in the current directory."""
    captions: bool = True
    """For pictures: describe them too, so that captions are shown and can be filtered by."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigurationError(f"--port {self.port}: give 0 (any) to 65535")
        if self.token:
            require_good_token(self.token)


def main(argv: Sequence[str]) -> int:
    """The command `vsalign serve`."""
    about = "Search pictures by sentences on a local web page, which has a JSON API (/openapi.json)."
    options = parse(ServeOptions, with_names(argv, "--index"), prog="vsalign serve", description=about)
    if not all(map(importlib.util.find_spec, ("fastapi", "uvicorn"))):
        raise MissingInputError("the search page needs FastAPI and uvicorn: pip install 'vsalign[search]'")
    with sigterm_as_exit(), _listening(options) as listener:
        url = options.index
        if not holds_index(url):
            url = index_of_photographs(url, work=options.work, model=options.model, captions=options.captions)
        return serve(options, url, listener)


def serve(options: ServeOptions, url: str, listener: socket.socket) -> int:
    """Serve the index at `url` until the keyboard or a signal ends it."""
    import uvicorn

    from vsalign.search.server.app import application

    token = token_of(options)
    index = OpenIndex(
        url,
        lambda: SearchIndex(url, model=options.model, language=options.language, lists=not options.exact),
    )
    _warm_up(index.current())
    guard = Guard(application(index, options.images), token)
    config = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,  # it would show the token
        server_header=False,
        timeout_graceful_shutdown=SECONDS_TO_END,
    )
    address = page_address(options.host, listener.getsockname()[1], token)
    print(f"{index.current().kept:,} pictures to search at {address} (Ctrl-C ends it)", flush=True)
    if options.open and _has_desktop():
        threading.Timer(0.3, webbrowser.open, [address]).start()
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # the usual end
        print("ended", file=sys.stderr)
    return 0


def _warm_up(index: SearchIndex) -> None:
    """Read a sentence once: the first takes many times as long."""
    with contextlib.suppress(ConfigurationError):  # words that the model does not know
        index.search(index.asker.sentence("a photograph of a man and a dog"), 1)


def token_of(options: ServeOptions) -> str:
    """What visitors must bring; empty: nothing. Raises ConfigurationError for a bad one of the environment."""
    given = options.token or os.environ.get(TOKEN_VARIABLE, "")
    if given:
        require_good_token(given)
    return given or ("" if is_loopback(options.host) else secrets.token_urlsafe(24))


def page_address(host: str, port: int, token: str) -> str:
    """The page's address for a browser."""
    name = socket.gethostname() if host in EVERYWHERE else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _listening(options: ServeOptions) -> socket.socket:
    """The socket, taken before anything long begins; raises ConfigurationError where it cannot be had."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        return socket.create_server((options.host, options.port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"--host {options.host} --port {options.port}: cannot listen there ({error.strerror or error}); give "
            "another port, or 0 for any that is free"
        ) from error


def _has_desktop() -> bool:
    """Whether a browser with windows can be opened: one in the terminal would take it over."""
    windows = sys.platform in ("darwin", "win32") or bool({"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys())
    return windows and sys.stdout.isatty()
