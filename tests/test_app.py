"""The app over HTTP: the API, its limits, what it refuses, and what it leaves behind."""

from __future__ import annotations

import base64
import io
import json
import os
import struct
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import pytest
from conftest import picture
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app


@pytest.fixture(scope="module")
def client(app_address: str) -> Client:
    return Client(app_address, verbose=False)


def uploads() -> list[Path]:
    return [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()]


def post(address: str, body: bytes, headers: dict | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def call(address: str, payload: dict) -> str:
    """The event stream that ``/predict`` answers to a raw `payload` in place of a picture."""
    status, body = post(f"{address}/gradio_api/call/predict", json.dumps({"data": [payload]}).encode())
    assert status == 200, body
    event = json.loads(body)["event_id"]
    with urllib.request.urlopen(f"{address}/gradio_api/call/predict/{event}", timeout=60) as answer:
        return answer.read().decode()


def server_function(address: str, payload: dict) -> dict:
    """What the page gets for `payload`."""
    with urllib.request.urlopen(f"{address}/config", timeout=30) as answer:
        config = json.load(answer)
    widget = next(one for one in config["components"] if one["props"].get("elem_id") == "try")
    body = {"component_id": widget["id"], "fn_name": "read_picture", "session_hash": "tests", "data": payload}
    status, answer = post(f"{address}/gradio_api/component_server", json.dumps(body).encode())
    assert status == 200, answer
    return json.loads(answer)


def without_time(answer: dict) -> dict:
    return {key: value for key, value in answer.items() if key != "ms"}


def test_the_command_the_api_and_the_page_give_the_same_object(app_address, client, collins, capsys):
    from fer.__main__ import main

    assert main(["predict", "--json", str(collins)]) == 0
    from_command = json.loads(capsys.readouterr().out)
    from_api = client.predict(handle_file(str(collins)), api_name="/predict")
    url = "data:image/jpeg;base64," + base64.b64encode(collins.read_bytes()).decode()
    from_page = server_function(app_address, {"name": collins.name, "picture": url})["reading"]
    assert without_time(from_command) == without_time(from_api) == without_time(from_page)
    assert from_api["faces"][0]["expression"] == "happiness"


def test_an_uploaded_photo_is_deleted_after_its_prediction(client, collins):
    client.predict(handle_file(str(collins)), api_name="/predict")
    assert uploads() == []


def test_a_broken_upload_is_deleted_too(client, tmp_path):
    broken = tmp_path / "notes.jpg"
    broken.write_text("these are notes")
    with pytest.raises(AppError, match="notes.jpg is not a picture"):
        client.predict(handle_file(str(broken)), api_name="/predict")
    assert uploads() == []


def test_the_same_photo_from_several_people_at_once_is_read_for_all(client, collins):
    jobs = [client.submit(handle_file(str(collins)), api_name="/predict") for _ in range(8)]
    answers = [without_time(job.result(60)) for job in jobs]
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_a_path_on_the_server_is_not_opened(app_address, collins, meta):
    answer = call(app_address, {"path": str(collins), **meta})
    assert "event: error" in answer and "faces" not in answer


def test_a_path_out_of_the_upload_folder_by_dots_is_not_opened(app_address, collins):
    folder = os.environ["GRADIO_TEMP_DIR"]
    dotted = os.path.join(folder, os.path.relpath(collins, folder))
    answer = call(app_address, {"path": dotted})
    assert "event: error" in answer and "faces" not in answer


def test_an_address_on_the_network_is_not_fetched(app_address):
    answer = call(app_address, {"path": f"{app_address}/samples/eileen-collins.jpg", "meta": {"_type": "gradio.FileData"}})
    assert "event: error" in answer and "faces" not in answer


def test_the_page_cannot_name_a_path_either(app_address, collins):
    assert "no picture" in server_function(app_address, {"name": "x", "picture": str(collins)})["error"]
    for nonsense in ({}, {"name": "x"}, {"name": "x", "picture": 7}, {"name": "x", "picture": "data:"}):
        assert server_function(app_address, nonsense)["error"].endswith(".")


@pytest.mark.parametrize("suffix", [".tif", ".ppm"])
def test_a_format_that_browsers_do_not_draw_comes_back_as_a_preview(app_address, suffix):
    buffer = io.BytesIO()
    picture((80, 60)).save(buffer, {".tif": "TIFF", ".ppm": "PPM"}[suffix])
    url = "data:image/x;base64," + base64.b64encode(buffer.getvalue()).decode()
    answer = server_function(app_address, {"name": "x" + suffix, "picture": url, "preview": True})
    assert answer["preview"].startswith("data:image/jpeg;base64,")
    assert (answer["reading"]["width"], answer["reading"]["height"]) == (80, 60)


def huge_png() -> bytes:
    """A PNG of 20,000×20,000 grey pixels in half a megabyte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(20_001)) for _ in range(20_000)) + packer.flush()
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_bad_pictures_get_one_sentence_and_the_app_goes_on(client, collins, tmp_path):
    whole = collins.read_bytes()
    bad = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"this is no picture", "not a picture"),
        "cut.jpg": (whole[: len(whole) // 3], "damaged"),
        "huge.png": (huge_png(), "million pixels"),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    }
    for name, (content, words) in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AppError) as caught:
            client.predict(handle_file(str(tmp_path / name)), api_name="/predict")
        sentence = str(caught.value)
        assert words in sentence and name in sentence and "Traceback" not in sentence, sentence
    assert client.predict(handle_file(str(collins)), api_name="/predict")["faces"]


@pytest.mark.parametrize("mode", ["L", "CMYK", "I;16", "P"])
def test_unusual_pictures_are_read(client, tmp_path, mode):
    image = picture((70, 50))
    image = Image.new("I;16", image.size, 40_000) if mode == "I;16" else image.convert(mode)
    path = tmp_path / ("picture.jpg" if mode == "CMYK" else "picture.png")
    image.save(path)
    answer = client.predict(handle_file(str(path)), api_name="/predict")
    assert (answer["width"], answer["height"], answer["faces"]) == (70, 50, [])


def test_a_body_larger_than_a_photo_is_refused(app_address):
    status, body = post(f"{app_address}/gradio_api/call/predict", b" " * (app.MAX_BODY + 1))
    assert status == 413 and b"smaller picture" in body


def test_a_body_that_does_not_say_its_size_is_counted(app_address):
    import http.client

    host, port = app_address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    pieces = (bytes(1_000_000) for _ in range(app.MAX_BODY // 1_000_000 + 2))
    try:
        connection.request("POST", "/gradio_api/component_server", pieces, encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked", "Content-Type": "application/json"})  # fmt: skip
        status = connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        status = 413  # the server hung up while it was still being sent more
    assert status == 413


def test_healthz_says_which_model_is_ready(app_address):
    with urllib.request.urlopen(f"{app_address}/healthz", timeout=30) as answer:
        health = json.load(answer)
    assert health["ready"] and health["status"] == "ok" and health["model"] and health["error"] is None


def test_telemetry_and_run_history_are_off(app_address):
    with urllib.request.urlopen(f"{app_address}/config", timeout=30) as answer:
        config = json.load(answer)
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False" and os.environ["HF_HUB_DISABLE_TELEMETRY"] in ("1", "True")


def test_every_sample_is_credited_and_every_credit_has_its_picture():
    from fer.ui.try_tab import SAMPLES, samples

    assert {one["file"] for one in samples()} == {path.name for path in SAMPLES.glob("*.jpg")}
    for one in samples():
        assert all(one[key] for key in ("title", "author", "year", "licence", "source")), one


def test_the_samples_carry_no_metadata():
    from fer.ui.try_tab import SAMPLES

    for path in SAMPLES.glob("*.jpg"):
        with Image.open(path) as image:
            assert not image.getexif() and "comment" not in image.info, path.name


def test_every_endpoint_stands_in_the_table_of_rights(client, app_served):
    named = {name.removeprefix("/") for name in client.view_api(return_format="dict")["named_endpoints"]}
    endpoints = {name for name in app_served[0].rights if "." not in name}  # with a dot: a page's own functions
    assert named == endpoints >= {"predict", "correct", "next", "label", "skip", "undo", "stats", "withdraw"}


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_without_a_usable_model_the_app_serves_a_sentence(tmp_path, damage, collins):
    import shutil

    from fer.bundle import SHIPPED

    model = tmp_path / "model"
    shutil.copytree(SHIPPED, model)
    weights = model / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    else:
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    services = app.Services(app.Settings(host="127.0.0.1", model=model))
    page, address = app.launch(services, block=False)
    try:
        with pytest.raises(AppError, match="model.safetensors"):
            Client(address, verbose=False).predict(handle_file(str(collins)), api_name="/predict")
        with urllib.request.urlopen(address.rstrip("/") + "/healthz", timeout=30) as answer:
            health = json.load(answer)
        assert health["status"] == "error" and "model.safetensors" in health["error"]
    finally:
        page.close()


def test_a_stopped_app_leaves_no_uploads_behind():
    from fer.bench.served import served_app

    with served_app() as (_, process):
        assert list(process.scratch.glob("expression-studio-*"))
        process.terminate()
        assert process.wait(20) == 0
        assert list(process.scratch.glob("expression-studio-*")) == []
        assert (process.scratch / "logs" / "app.log").is_file()


def test_the_log_rotates_and_lies_in_the_workspace(tmp_path):
    import logging

    before = logging.getLogger().handlers[:]
    try:
        app.log_to(tmp_path)
        for _ in range(30):
            app.log.info("x" * 100_000)
        sizes = [path.stat().st_size for path in (tmp_path / "logs").iterdir()]
        assert 1 < len(sizes) <= 3 and max(sizes) <= 1_000_000
    finally:
        for handler in logging.getLogger().handlers[:]:
            handler.close()
            logging.getLogger().removeHandler(handler)
        logging.getLogger().handlers[:] = before
