"""A Space in small: the app as a process with a Space's environment, and an OpenID provider that signs people in."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from conftest import ROOT

CLIENT, SECRET = "client-of-the-space", "secret-of-the-space"


class Provider:
    """Stands for huggingface.co: whoever brings a code is whom `people` says, {code: claims}."""

    def __init__(self) -> None:
        from joserfc.jwk import RSAKey

        self.people: dict[str, dict] = {}
        self.nonces: dict[str, str] = {}
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = {
                    "/.well-known/openid-configuration": provider.metadata,
                    "/jwks": lambda: {"keys": [provider.key.as_dict(private=False)]},
                }
                self._answer(
                    known[self.path]() if self.path in known else {"error": "no such page"}, 200 if self.path in known else 404
                )

            def do_POST(self) -> None:
                form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                code = form.get("code", [""])[0]
                self._answer(
                    provider.token(code) if code in provider.people else {"error": "invalid_grant"},
                    200 if code in provider.people else 400,
                )

            def _answer(self, value: dict, status: int) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *given: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def metadata(self) -> dict:
        return {
            "issuer": self.address, "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks", "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code"],
        }  # fmt: skip

    def token(self, code: str) -> dict:
        from joserfc import jwt

        now = int(time.time())
        claims = {
            "iss": self.address,
            "aud": CLIENT,
            "sub": code,
            "iat": now,
            "exp": now + 3600,
            "nonce": self.nonces[code],
            **self.people[code],
        }
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)
        return {"access_token": f"oauth-{code}", "token_type": "Bearer", "expires_in": 3600, "id_token": signed}


@dataclass(frozen=True)
class SmallSpace:
    """A running app: its address, and who signs people in."""

    address: str
    provider: Provider
    workspace: Path

    def get(self, path: str, cookie: str = "") -> tuple[int, dict[str, str], dict[str, str]]:
        """Status, headers, and cookies that are set, by name; nothing is followed."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.address).netloc, timeout=30)
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        answer.read()
        pairs = [value.partition(";")[0].partition("=") for name, value in answer.getheaders() if name.lower() == "set-cookie"]
        connection.close()
        return answer.status, dict(answer.getheaders()), {name: value for name, _, value in pairs}

    def signed_in(self, name: str, orgs: list[dict] | None = None) -> dict[str, str]:
        """Headers of a browser in which `name` has gone all the way through the sign-in."""
        status, headers, cookies = self.get("/login/huggingface?_target_url=/")
        headers = {key.lower(): value for key, value in headers.items()}
        assert status in (302, 307), status
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(headers["location"]).query)
        code = f"code-of-{name}"
        self.provider.nonces[code] = asked["nonce"][0]
        self.provider.people[code] = {
            "preferred_username": name,
            "name": name.title(),
            "profile": "x",
            "picture": "x",
            "orgs": orgs or [],
        }
        query = urllib.parse.urlencode({"code": code, "state": asked["state"][0], "_target_url": "/"})
        status, _, cookies = self.get(f"/login/callback?{query}", f"session={cookies['session']}")
        assert status in (302, 307) and cookies.get("session"), (status, cookies)
        return {"Cookie": f"session={cookies['session']}"}


@contextmanager
def small_space(workspace: Path, **environment: str) -> Iterator[SmallSpace]:
    """``python app.py`` where it believes to be on the Space maria/studio."""
    provider = Provider()
    space = {
        "SYSTEM": "spaces", "SPACE_ID": "maria/studio", "SPACE_AUTHOR_NAME": "maria", "SPACE_HOST": "maria-studio.hf.space",
        "OAUTH_CLIENT_ID": CLIENT, "OAUTH_CLIENT_SECRET": SECRET, "OAUTH_SCOPES": "openid profile",
        "OPENID_PROVIDER_URL": provider.address,
        "GRADIO_SERVER_NAME": "0.0.0.0", "PYTHONUNBUFFERED": "1", **environment,
    }  # fmt: skip
    port = _free_port()
    # Errors go where the output goes: a pipe that nobody empties would stop the app.
    process = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port), "--workspace", str(workspace)], cwd=ROOT, env={**os.environ, **space},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    lines: list[str] = []
    reading = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reading.start()
    try:
        yield SmallSpace(_ready(process, port, lines), provider, workspace)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        provider.server.shutdown()


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _ready(process: subprocess.Popen, port: int, lines: list[str]) -> str:
    """The address, once the page answers."""
    address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/config")
            if connection.getresponse().status == 200:
                return address
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the app did not start: " + re.sub(r"key=\S+", "key=…", "".join(lines))[-3000:])
