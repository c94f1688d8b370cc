"""Calling the app as anybody could: plain HTTP with headers of one's own choice."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

PAGES = {"labeling": "label"}  # elem_id of a widget -> its name in the table of rights, where that is another


def http(address: str, body: object = None, headers: dict[str, str] | None = None, timeout: float = 60) -> tuple[int, bytes]:
    """Status and body of the answer; a GET where there is no `body`."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def config(address: str) -> dict:
    """What Gradio says of the page: its components, and what calls what."""
    return json.loads(http(f"{address}/config")[1])


def server_functions(address: str) -> dict[str, int]:
    """Every server function of the page, as it stands in the table of rights, with the number of its component."""
    found = {}
    for component in config(address)["components"]:
        for name in component["props"].get("server_fns") or ():
            found[f"{PAGES.get(component['props'].get('elem_id'), component['props'].get('elem_id'))}.{name}"] = component["id"]
    return found


def endpoints(address: str) -> dict[str, int]:
    """Everything of the page that can be called by name or number: its name, or its number where it has none."""
    return {str(one["api_name"] or one["id"]): one["id"] for one in config(address)["dependencies"]}


def call(address: str, name: str, *values: object, headers: dict[str, str] | None = None) -> tuple[str, object]:
    """What ``/name`` answers: ("complete", its value), or ("error", what went wrong)."""
    status, body = http(f"{address}/gradio_api/call/{name}", {"data": list(values)}, headers)
    if status != 200:
        return "error", body.decode()
    _, stream = http(f"{address}/gradio_api/call/{name}/{json.loads(body)['event_id']}", headers=headers)
    lines = [line.partition(": ") for line in stream.decode().splitlines() if line]
    event, data = next((lines[at][2], lines[at + 1][2]) for at in range(0, len(lines), 2) if lines[at][2] in ("complete", "error"))
    value = json.loads(data)
    if event == "complete":
        return event, value[0]
    return event, value["error"] if isinstance(value, dict) else value


def ask(address: str, function: str, payload: object, headers: dict[str, str] | None = None) -> dict:
    """What the page's server function `function` ("label.more") answers to `payload`."""
    return ask_component(address, server_functions(address)[function], function.partition(".")[2], payload, headers)


def ask_component(address: str, component: int, name: str, payload: object, headers: dict[str, str] | None = None) -> dict:
    body = {"component_id": component, "fn_name": name, "session_hash": "tests", "data": payload}
    status, answer = http(f"{address}/gradio_api/component_server", body, headers)
    assert status == 200, answer
    return json.loads(answer)


def data_url(content: bytes | Path, kind: str = "jpeg") -> str:
    """A picture as pages send it."""
    content = content.read_bytes() if isinstance(content, Path) else content
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()


def upload(address: str, content: bytes | Path, name: str = "photo.jpg") -> dict:
    """Send a picture; what then stands for it among the values of `call`."""
    content = content.read_bytes() if isinstance(content, Path) else content
    head = f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = head.encode() + content + b"\r\n--edge--\r\n"
    request = urllib.request.Request(f"{address}/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=edge"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        (path,) = json.load(answer)
    return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def assert_sentence(text: object, *places: Path) -> None:
    """`text` can be shown to a visitor: one sentence, without a path of this machine or a trace."""
    assert isinstance(text, str) and text.endswith(".") and "\n" not in text and len(text) < 500, text
    assert "Traceback" not in text and "Errno" not in text and "fault in the app" not in text, text
    assert all(str(place) not in text for place in (*places, "/tmp", "/work", "/home")), text
