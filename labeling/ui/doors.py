"""The addresses beside the page: links with a key, by which people come in, and files to be fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from labeling.people import COOKIE, PUBLIC, House


def reached_at(listening: str, share: bool, address: str) -> str:
    """The address of the page as others write it, where it can be known; `address` is how this machine does.

    `listening` is what the app listens on, `share` whether there is a public gradio.live address too.
    """
    if share:
        return "https://THE-PUBLIC-ADDRESS"
    if listening in ("0.0.0.0", "::", ""):
        return f"http://THIS-MACHINE:{address.rstrip('/').rpartition(':')[2]}"
    return address.rstrip("/")


def doors(house: House, address: str) -> str:
    """The links that the owner uses and hands out, in words."""
    return (
        f"This app can be reached from other machines. Open it as its owner: {address}/enter?key={house.keys.own}\n"
        f"Hand this link to people who label: {address}/enter?key={house.keys.label}"
    )


def download(offered: dict[str, Path]) -> Callable:
    """The route to the files that were made for somebody, by token; each is handed over once."""
    from starlette.background import BackgroundTask
    from starlette.requests import Request
    from starlette.responses import FileResponse, PlainTextResponse, Response

    def hand_over(request: Request) -> Response:
        token = request.path_params["token"]
        path = offered.get(token) if request.method == "HEAD" else offered.pop(token, None)
        if path is None or not path.is_file():
            return PlainTextResponse("This file was fetched already, or the app was started anew; make it again.", 404)
        fetched = None if request.method == "HEAD" else BackgroundTask(shutil.rmtree, path.parent, True)
        return FileResponse(path, filename=path.name, background=fetched)

    return hand_over


def enter(house: House) -> Callable:
    """The page behind the links: it puts the key into a cookie and shows the app."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, RedirectResponse, Response

    def let_in(request: Request) -> Response:
        key = request.query_params.get("key", "")
        if house.rights({"authorization": f"Bearer {key}"}, None) == PUBLIC:
            return PlainTextResponse("This link is not valid (any more); ask whoever runs the app for a new one.", 403)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            COOKIE, key, max_age=30 * 24 * 3600, httponly=True, samesite="lax", secure=request.url.scheme == "https"
        )
        return answer

    return let_in
