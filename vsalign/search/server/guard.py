"""Who is let in, and what every answer says to the browser.

On this machine alone: whoever asks by this machine's name (a web page that points its own name here, DNS rebinding,
does not). With a token: whoever brings it, as a bearer, in the cookie, or once in the page's address.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from vsalign.errors import ConfigurationError

TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,200}")
"""Letters that stand for themselves in an address and in a cookie; what is shorter could be guessed."""
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
NO_TOKEN = "this page needs its token: open the address that `vsalign serve` printed"
NOT_HERE = "this server answers to localhost only: open http://localhost with its port"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_good_token(token: str) -> None:
    """Raise ConfigurationError for one that is short, or does not go through an address."""
    if not TOKEN.fullmatch(token):
        raise ConfigurationError("the token needs 16 to 200 letters, digits, or . _ ~ -: give another, or none")


class Guard:
    """The application behind the guard; token: empty for a server of this machine alone."""

    def __init__(self, application: Application, token: str = "") -> None:
        self._application, self._token = application, token.encode()
        # Cookies are shared by all ports of a host: two servers must not take each other's away.
        self.cookie = f"vsalign-{hashlib.sha256(self._token).hexdigest()[:12]}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0] if scope["path"] == "/" else ""
        arrives = bool(self._token) and self._right(asked)
        extra = dict(HEADERS)
        if arrives:
            extra["set-cookie"] = f"{self.cookie}={asked}; Path=/; HttpOnly; SameSite=Strict"

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in extra.items()]
                message["headers"] = [*message["headers"], *(each for each in more if each[0] not in own)]
            await send(message)

        if self._token and not (arrives or self._right(_bearer(headers)) or self._right(self._held(headers))):
            await _refuse(send_on, 401, NO_TOKEN)
        elif not self._token and not is_loopback(_host(headers)):
            await _refuse(send_on, 403, NOT_HERE)
        else:
            await self._application(scope, receive, send_on)

    def _right(self, token: str) -> bool:
        """Compared in a time that tells nothing."""
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self._token)

    def _held(self, headers: dict[str, str]) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""


def _bearer(headers: dict[str, str]) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _host(headers: dict[str, str]) -> str:
    """The name in the Host header, without the port."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(:\d{1,5})?", headers.get("host", ""))
    return match[1].lower() if match else ""


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
