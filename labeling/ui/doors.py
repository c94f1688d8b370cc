"""The addresses beside the page: links and passwords, by which people come in, and files to be fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from labeling.addresses import from_own_page
from labeling.limits import Guesses, LimitReached
from labeling.passwords import KEPT_SECONDS, LONGEST
from labeling.people import COOKIE, LABELER, OWNER, TRAINER, House
from labeling.ui.gate import joined

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


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
    words = (
        f"This app can be reached from other machines. Open it as its owner: {address}/enter?key={house.keys.own}\n"
        f"Hand this link to people who label: {address}/enter?key={house.keys.label}"
    )
    return f"{words}\nWhoever has a password types it at {address}/enter" if house.passwords else words


def download(offered: dict[str, Path]) -> Callable:
    """The route to the files that were made for somebody, by token; each is handed over once."""
    from starlette.background import BackgroundTask
    from starlette.responses import FileResponse, PlainTextResponse

    def hand_over(request: "Request") -> "Response":
        token = request.path_params["token"]
        path = offered.get(token) if request.method == "HEAD" else offered.pop(token, None)
        if path is None or not path.is_file():
            return PlainTextResponse("This file was fetched already, or the app was started anew; make it again.", 404)
        fetched = None if request.method == "HEAD" else BackgroundTask(shutil.rmtree, path.parent, True)
        return FileResponse(path, filename=path.name, background=fetched)

    return hand_over


def enter(house: Callable[[], House], guesses: Guesses | None = None) -> Callable:
    """The page behind the links, and the form that asks for a password; both put what lets somebody in into a cookie.

    The form is plain HTML. It takes nothing from pages of other sites, and the more wrong passwords and links come, the
    longer it waits. A right link lets in at all times: it is beyond guessing, so waiting would only keep its owner out.
    """
    from starlette.responses import RedirectResponse

    guessing = guesses or Guesses()

    async def answer(request: "Request") -> "Response":
        door = house()
        headers = joined(request.headers.items())
        client = request.client.host if request.client else None
        if request.method == "POST":
            if not from_own_page(headers):
                return _page(door, "This was sent by a page of another site; open this page itself and try again.", 403)
            return await given(request, door, door.address(headers, client))
        if "key" in request.query_params:
            return linked(request, door, door.address(headers, client))
        return _page(door, inside=_ROLE.get(door.caller(headers, client).rights))

    def linked(request: "Request", door: House, address: str) -> "Response":
        key = request.query_params["key"]
        role = door.role_of(key)
        if role is None:
            try:
                if key:  # one who forgot the key guesses nothing
                    guessing.begin(address)
            except LimitReached as error:
                return _page(door, str(error), 429, wait=error.seconds)
            return _page(door, "This link is not valid (any more); ask whoever runs the app for a new one.", 403)
        return _let_in(request, door, key)

    async def given(request: "Request", door: House, address: str) -> "Response":
        form = await _form(request)
        if "leave" in form:
            return _with_cookie(RedirectResponse("./enter", 303), request, door, "", 0)
        password = form.get("password", "")
        if not door.passwords:
            return _page(door, "This app has no passwords; open the link that you were given.", 403)
        if not password:
            return _page(door, "Type the password that you were given.", 400)
        try:
            right = guessing.begin(address)
        except LimitReached as error:
            return _page(door, str(error), 429, wait=error.seconds)
        role = door.passwords.opens(password)
        if role is None:
            return _page(door, "That is not the password; ask whoever runs this app for it.", 403)
        right()
        return _let_in(request, door, door.passwords.token(role, door.keys))

    return answer


_ROLE = {LABELER: "as somebody who labels", TRAINER: "as somebody who labels and trains", OWNER: "as the owner"}


def _let_in(request: "Request", door: House, token: str) -> "Response":
    """Show the app; `token` in a cookie lets the browser in from now on."""
    from starlette.responses import RedirectResponse

    answer = RedirectResponse("./", 303, {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"})
    return _with_cookie(answer, request, door, token, KEPT_SECONDS)


def _with_cookie(answer: "Response", request: "Request", door: House, value: str, seconds: int) -> "Response":
    """`answer`, which keeps `value` in the browser for some `seconds`; 0 removes it."""
    encrypted = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").partition(",")[0].strip())
    # Inside the frame of a Space's page the browser sends only what is marked for foreign frames; the gate looks at who
    # sent each request. Elsewhere the cookie stays away from other sites altogether.
    framed = "; SameSite=None; Partitioned" if door.inner and encrypted else "; SameSite=Lax"
    secure = "; Secure" if encrypted else ""
    answer.headers.append("Set-Cookie", f"{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly{framed}{secure}")
    return answer


async def _form(request: "Request") -> dict[str, str]:
    """The fields of a form that was sent; what is too long for a password is cut off and fits none."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > 8 * LONGEST:
            return {"password": "x" * 2 * LONGEST}
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=5)
    except ValueError:  # too many
        return {}
    return {name: values[0] for name, values in fields.items()}


def _page(door: House, problem: str = "", status: int = 200, wait: int | None = None, inside: str | None = None) -> "Response":
    """The form, with what went wrong; or for somebody who is `inside` the way out."""
    from starlette.responses import HTMLResponse, PlainTextResponse

    if problem and not door.passwords:
        return PlainTextResponse(problem, status, {"Cache-Control": "no-store", **({"Retry-After": str(wait)} if wait else {})})
    html = (Path(__file__).parent / "doors.html").read_text(encoding="utf-8").replace("{{body}}", _body(door, problem, inside))
    frames = "https://huggingface.co https://*.hf.space" if door.inner else "'none'"
    headers = {
        "Cache-Control": "no-store", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
        f"frame-ancestors {frames}",
    }  # fmt: skip
    return HTMLResponse(html, status, headers | ({"Retry-After": str(wait)} if wait else {}))


def _body(door: House, problem: str, inside: str | None) -> str:
    if inside and not problem:
        return (f"<p>You are in {inside}.</p>\n"
                '<form method="post" action="enter"><button name="leave" value="yes">Leave</button></form>')  # fmt: skip
    if not door.passwords:
        return "<p>Open the link that whoever runs this app gave you.</p>"
    said = f'<p role="alert" id="problem">{escape(problem)}</p>\n' if problem else ""
    described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
    return (
        f"<p>Whoever runs this app hands out the password.</p>\n{said}"
        '<form method="post" action="enter">\n<label for="password">Password</label>\n'
        f'<input id="password" name="password" type="password" autocomplete="current-password" required autofocus{described}>\n'
        "<button>Come in</button>\n</form>"
    )
