"""Rights over HTTP: every way to call a function of the app stands in the table, and is refused without its right."""

from __future__ import annotations

import dataclasses
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from calls import ask_component, assert_sentence, call, config, endpoints, http, server_functions
from label_workspaces import face

import app
from labeling.items import NewItem
from labeling.judgements import Judgement
from labeling.people import COOKIE, LABELER, OWNER, PUBLIC, REFUSALS

STRANGERS = {
    "a foreign host": {"Host": "studio.example.org"},
    "a name that leads here": {"Host": "127.0.0.1.evil.com:7860"},
    "a page of another site": {"Origin": "https://evil.com"},
    "a frame without a site": {"Origin": "null"},
    "a proxy": {"X-Forwarded-For": "127.0.0.1"},
    "another site in the same browser": {"Sec-Fetch-Site": "cross-site"},
    "a wrong key elsewhere": {"Host": "studio.example.org", "Authorization": "Bearer wrong"},
    "a wrong cookie elsewhere": {"Host": "studio.example.org", "Cookie": f"{COOKIE}=wrong"},
}
# What each function would need in order to do something, in place of ITEM and REQUEST what is there.
API_VALUES = {
    "next": ["Eve"], "label": ["ITEM", "fear", "Eve", "by-api"], "skip": ["ITEM", "Eve", "by-api"], "undo": ["REQUEST"],
    "stats": [],
    "import": ["nothing:nowhere"], "export": ["nothing:nowhere"], "snapshot": [],
    "readiness": [], "train_start": ["quick"], "train_status": [], "train_stop": [], "train_resume": [],
    "models": [], "compare": ["shipped", "shipped"], "promote": ["shipped", "Eve", "rights"], "rollback": ["Eve"],
}  # fmt: skip
PAGE_VALUES = {
    "label.begin": {"annotator": "Eve"}, "label.leave": {"annotator": "Eve"},
    "label.more": {"annotator": "Eve", "count": 2}, "label.undo": {"request": "REQUEST"},
    "label.judge": {"request": "by-page", "item": "ITEM", "annotator": "Eve", "label": "fear", "second": None},
    "label.counts": {"annotator": "Eve"},
    "data.counts": {}, "data.parted": {"one": "fear", "other": "anger"}, "data.doubtful": {}, "data.imports": {},
    "data.snapshot": {},
    "data.part": {"upload": "rights", "name": "faces.zip", "at": 0, "data": "eA=="}, "data.hand_out": {"kind": "nothing"},
    "data.bring": {"upload": "nothing", "name": "faces.zip"}, "data.faces": {"newcomer": "nothing"},
    "data.release": {"newcomer": "nothing", "release": True},
    "train.readiness": {}, "train.look": {"log": True}, "train.start": {"speed": "quick"}, "train.stop": {}, "train.resume": {},
    "train.pictures": {"run": "nothing", "names": []}, "train.use": {"version": "shipped", "who": "Eve", "why": "rights"},
    "models.listing": {}, "models.card": {"version": "shipped"}, "models.compare": {"one": "shipped", "other": "shipped"},
    "models.compared": {}, "models.promote": {"version": "shipped", "who": "Eve", "why": "rights"},
    "models.rollback": {"who": "Eve"},
}  # fmt: skip


@pytest.fixture(scope="module")
def open_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[app.Services, str]]:
    """An app that other machines can reach."""
    services = app.Services(app.Settings(host="0.0.0.0", workspace=tmp_path_factory.mktemp("open")))
    page, address = app.launch(services, block=False)
    yield services, f"http://127.0.0.1:{address.rstrip('/').rpartition(':')[2]}"
    page.close()
    services.close()


@pytest.fixture(scope="module", params=["local", "open"])
def any_app(request, app_served, open_app) -> tuple[app.Services, str]:
    return app_served if request.param == "local" else open_app


@pytest.fixture
def labelled(any_app) -> dict[str, object]:
    """A face somebody labelled, in the workspace of `any_app`: what ITEM and REQUEST stand for."""
    store = any_app[0].labels()
    (item,) = store.add([NewItem("folder", "rights", face(2), 112, 112, (0, 0, 112, 112))])
    return {"ITEM": item, "REQUEST": store.judge(item, Judgement("rights", "Ada", "anger")).request}


def filled(values, there: dict):
    if isinstance(values, dict):
        return {key: filled(value, there) for key, value in values.items()}
    return [filled(one, there) for one in values] if isinstance(values, list) else there.get(values, values)


def kept(services: app.Services) -> list[tuple]:
    """Everything that could have been done: all rows of the database, all files, and what the queue holds."""
    with services.labels().database.reading() as connection:
        tables = ("items", "judgements", "standing", "consents", "withdrawn")
        rows = [tuple(row) for table in tables for row in connection.execute(f"SELECT * FROM {table}")]
    files = sorted(str(path) for path in services.settings.workspace.rglob("*") if not path.name.startswith("labels.db-"))
    return [*rows, *files, *sorted(services.queue()._leases.items())]


def test_every_way_to_call_the_app_stands_in_the_table(any_app):
    services, address = any_app
    assert set(endpoints(address)) | set(server_functions(address)) == set(services.rights)
    assert not any(name.isdigit() for name in services.rights)


def test_the_tests_here_know_what_each_guarded_function_needs(any_app):
    guarded = {name for name, right in any_app[0].rights.items() if right != "public"}
    assert guarded == {*API_VALUES, *PAGE_VALUES}, "add to API_VALUES or PAGE_VALUES what the new function needs"


def refusals(any_app, there: dict, headers: dict) -> dict[str, object]:
    """What every function with a right other than public answers to a caller with `headers`."""
    services, address = any_app
    components, found = server_functions(address), {}
    for name, right in services.rights.items():
        if right == "public":
            continue
        if name in components:
            answer = ask_component(
                address, components[name], name.partition(".")[2], filled(PAGE_VALUES.get(name, {}), there), headers
            )
            found[name] = (
                right,
                answer.get("error") if answer.get("refused") and set(answer) == {"error", "refused"} else answer,
            )
        else:
            event, answer = call(address, name, *filled(API_VALUES.get(name, []), there), headers=headers)
            found[name] = (right, answer if event == "error" else (event, answer))
    return found


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers_are_refused_in_one_sentence_and_nothing_is_done(any_app, labelled, stranger):
    before = kept(any_app[0])
    answers = refusals(any_app, labelled, STRANGERS[stranger])
    assert answers and all(answer == REFUSALS[right] for right, answer in answers.values()), answers
    assert kept(any_app[0]) == before
    for right, _ in answers.values():
        assert_sentence(REFUSALS[right])


def test_an_app_that_others_reach_refuses_even_those_at_the_machine(open_app, labelled):
    answers = refusals(open_app, labelled, {})
    assert all(answer == REFUSALS[right] for right, answer in answers.values()), answers


@pytest.mark.parametrize("route", ["run", "api"])
def test_the_other_routes_of_gradio_refuse_too(any_app, labelled, route):
    services, address = any_app
    before = kept(services)
    for name, values in API_VALUES.items():
        for headers in STRANGERS.values():
            status, body = http(f"{address}/gradio_api/{route}/{name}", {"data": filled(values, labelled)}, headers)
            assert status >= 400 and b"by_label" not in body and b"chip" not in body, (name, body)
    assert kept(services) == before


def allowed(any_app, there: dict, headers: dict) -> dict[str, bool]:
    return {name: answer != REFUSALS[right] for name, (right, answer) in refusals(any_app, there, headers).items()}


@pytest.mark.parametrize("shown", ["bearer", "cookie"])
@pytest.mark.parametrize("whose", ["label", "own"])
def test_a_key_opens_what_it_is_for(any_app, labelled, whose, shown):
    services, _ = any_app
    key = getattr(services.house.keys, whose)
    rights = {"label": LABELER, "own": OWNER}[whose]
    headers = {"Host": "studio.example.org"}
    headers |= {"Authorization": f"Bearer {key}"} if shown == "bearer" else {"Cookie": f"{COOKIE}={key}"}
    answers = allowed(any_app, labelled, headers)
    assert answers == {name: services.rights[name] in rights for name in answers}


def test_whoever_sits_at_the_machine_may_do_everything(app_served):
    services, address = app_served
    (item,) = services.labels().add([NewItem("folder", "rights", face(3), 112, 112, (0, 0, 112, 112))])
    there = {"ITEM": item, "REQUEST": "nothing"}
    assert all(allowed(app_served, there, {}).values())
    assert all(allowed(app_served, there, {"Origin": address, "Sec-Fetch-Site": "same-origin"}).values())


def test_what_is_public_needs_nothing(any_app):
    _, address = any_app
    event, answer = call(address, "withdraw", "NOBODY-HAS-THIS-CODE", headers=STRANGERS["a foreign host"])
    assert event == "error" and "Nothing is kept under this code" in answer


# --- the links ----------------------------------------------------------------------------------


def entered(address: str, key: str) -> tuple[int, str, CookieJar]:
    jar = CookieJar()

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *given):
            return None

    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), Stay)
    try:
        answer = opener.open(f"{address}/enter?key={key}", timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    return answer.code, answer.read().decode(), jar


@pytest.mark.parametrize("whose", ["label", "own"])
def test_a_link_puts_its_key_into_a_cookie_that_scripts_cannot_read(any_app, whose):
    services, address = any_app
    key = getattr(services.house.keys, whose)
    status, _, jar = entered(address, key)
    (cookie,) = jar
    assert status == 303 and (cookie.name, cookie.value) == (COOKIE, key)
    assert cookie.has_nonstandard_attr("HttpOnly") and cookie.get_nonstandard_attr("SameSite").lower() == "lax"
    assert services.house.rights({"cookie": f"{cookie.name}={cookie.value}"}, None) == {"label": LABELER, "own": OWNER}[whose]


@pytest.mark.parametrize("key", ["", "wrong", "%00", "a%20b", "%E2%82%AC", "%0d%0aSet-Cookie:x=y"])
def test_a_wrong_link_sets_no_cookie_and_says_so(any_app, key):
    status, words, jar = entered(any_app[1], key)
    assert status == 403 and list(jar) == []
    assert_sentence(words)


@pytest.mark.parametrize("settings", [
    {"host": "0.0.0.0"}, {"host": "::"}, {"host": "192.168.0.7"}, {"host": "127.0.0.1", "share": True}, {"host": None,
    "share": True},
    {"host": "studio.example.org"},
])  # fmt: skip
def test_an_app_that_is_bound_wider_or_shared_gives_nobody_anything_without_a_key(tmp_path, settings):
    services = app.Services(app.Settings(workspace=tmp_path, **settings))
    assert not services.settings.local
    assert services.house.rights({"host": "127.0.0.1:7860"}, "127.0.0.1") == PUBLIC
    assert services.house.rights({"authorization": f"Bearer {services.house.keys.own}"}, "8.8.8.8") == OWNER
    assert app.Services(services.settings).house == services.house, "links handed out outlive a restart"
    links = app.doors(services.house, "https://studio.example.org")
    assert f"/enter?key={services.house.keys.own}" in links and f"/enter?key={services.house.keys.label}" in links


def test_the_environment_can_bind_wider_too(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert not app.Services(app.Settings(workspace=tmp_path)).house.local
    assert app.Services(app.Settings(host="127.0.0.1", workspace=tmp_path)).house.local


def test_a_local_app_keeps_no_keys_on_disk(tmp_path):
    app.Services(app.Settings(host="127.0.0.1", workspace=tmp_path))
    assert list(Path(tmp_path).iterdir()) == []


def test_the_keys_are_never_in_the_page_or_its_settings(any_app):
    services, address = any_app
    page = http(f"{address}/")[1] + http(f"{address}/config")[1] + http(f"{address}/healthz")[1]
    assert not any(key.encode() in page for key in dataclasses.asdict(services.house.keys).values())


# --- Gradio's own routes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[app.Services, str]]:
    """An app that others reach, with a label and its picture in it."""
    workspace = tmp_path_factory.mktemp("guarded")
    services = app.Services(app.Settings(host="0.0.0.0", workspace=workspace))
    page, address = app.launch(services, block=False)
    (item,) = services.labels().add([NewItem("folder", "rights", face(2), 112, 112, (0, 0, 112, 112))])
    services.labels().judge(item, Judgement("rights", "Ada Secretname", "anger"))
    yield services, f"http://127.0.0.1:{address.rstrip('/').rpartition(':')[2]}"
    page.close()
    services.close()


def files_of(services: app.Services) -> list[Path]:
    folder = services.settings.workspace
    return [folder / "keys.json", folder / "labels" / "labels.db", next((folder / "labels" / "images").rglob("*.png"))]


@pytest.mark.parametrize("route", [
    "/gradio_api/file={}", "/gradio_api/file/{}", "/file={}", "/gradio_api/file=/{}", "/gradio_api/proxy=file://{}",
    "/samples/{}", "/samples/..{}",
    "/samples/%2e%2e/%2e%2e/%2e%2e/%2e%2e{}", "/static/{}", "/static/..{}", "/assets/{}", "/svelte/..{}", "/download/{}",
    "/download/..{}",
    "/gradio_api/custom_component/0/client/component/..{}", "/gradio_api/stream/x/0/0/playlist-file?path={}",
    "/?deep_link=../..{}",
    "/config?deep_link=..{}",
])  # fmt: skip
def test_no_route_hands_out_a_file_of_the_workspace(guarded_app, route):
    services, address = guarded_app
    for path in files_of(services):
        status, body = http(f"{address}{route.format(urllib.parse.quote(str(path)))}")
        assert path.read_bytes()[:200] not in body, (status, route)
        assert services.house.keys.own.encode() not in body and b"SQLite format" not in body


@pytest.mark.parametrize("route", [
    "/", "/config", "/config/", "/gradio_api/info", "/gradio_api/openapi.json", "/openapi.json", "/gradio_api/user",
    "/gradio_api/token",
    "/gradio_api/app_id", "/gradio_api/startup-events", "/gradio_api/queue/status", "/monitoring", "/monitoring/summary",
    "/monitoring/x",
    "/gradio_api/profiling/traces", "/gradio_api/vibe-code", "/gradio_api/runs", "/gradio_api/run-history/records",
    "/manifest.json",
    "/gradio_api/deep_link?session_hash=tests", "/healthz", "/robots.txt", "/docs", "/redoc",
])  # fmt: skip
def test_no_page_of_gradio_says_who_labels_or_what_opens_the_door(guarded_app, route):
    services, address = guarded_app
    call(address, "stats", headers={"Authorization": f"Bearer {services.house.keys.own}"})
    _, body = http(f"{address}{route}")
    assert b"Secretname" not in body and services.house.keys.own.encode() not in body


@pytest.mark.parametrize("route", ["/gradio_api/vibe-edit", "/gradio_api/vibe-code", "/gradio_api/undo-vibe-edit",
    "/gradio_api/run-history/connect",
                                   "/gradio_api/profiling/clear", "/gradio_api/process_recording",
                                   "/gradio_api/process_recording/"])  # fmt: skip
def test_what_gradio_offers_to_developers_is_closed(guarded_app, route):
    status, _ = http(f"{guarded_app[1]}{route}", {"code": "print(1)", "hash": "x", "bucket_id": "a/b", "prompt": "x"})
    assert status >= 400


def test_only_registered_functions_of_a_component_can_be_called(guarded_app):
    services, address = guarded_app
    before = kept(services)
    for component in config(address)["components"]:
        for name in (
            "preprocess",
            "postprocess",
            "example_payload",
            "get_config",
            "async_move_resource_to_block_cache",
            "__init__",
            "_guarded",
            "value",
        ):
            body = {"component_id": component["id"], "fn_name": name, "session_hash": "x", "data": {"path": "/etc/passwd"}}
            status, answer = http(f"{address}/gradio_api/component_server", body)
            assert status in (404, 422), (component["type"], name, status, answer[:200])
    assert kept(services) == before


def test_a_call_by_number_or_in_somebody_elses_session_is_refused_alike(guarded_app):
    services, address = guarded_app
    before, numbers = kept(services), endpoints(address)
    for name, right in services.rights.items():
        if right == "public" or name not in numbers:
            continue
        body = {"data": filled(API_VALUES[name], {"ITEM": 1, "REQUEST": "rights"}), "fn_index": numbers[name],
            "session_hash": f"rights-{name}", "trigger_id": None, "event_data": None,
                "request": {"headers": {"host": "127.0.0.1", "authorization": f"Bearer {services.house.keys.own}"},
                "username": "admin"}}  # fmt: skip
        status, answer = http(f"{address}/gradio_api/queue/join", body)
        if status == 200:
            _, stream = http(f"{address}/gradio_api/queue/data?session_hash=rights-{name}")
            assert REFUSALS[right].encode() in stream.replace(b"\\u2019", "’".encode()) and b"Secretname" not in stream, (
                name,
                stream,
            )
    assert kept(services) == before


def test_a_server_function_that_is_sent_as_a_form_is_refused_alike(guarded_app):
    services, address = guarded_app
    for name, component in server_functions(address).items():
        if services.rights[name] == "public":
            continue
        fields = {"component_id": str(component), "fn_name": name.partition(".")[2], "session_hash": "x", "data": "{}"}
        body = (
            "".join(f'--edge\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
            + "--edge--\r\n"
        )
        request = urllib.request.Request(
            f"{address}/gradio_api/component_server", body.encode(), {"Content-Type": "multipart/form-data; boundary=edge"}
        )
        try:
            answer = urllib.request.urlopen(request, timeout=30).read()
        except urllib.error.HTTPError as error:
            answer = error.read()
            assert error.code >= 400 and b"Secretname" not in answer
        else:
            assert b'"refused":true' in answer, (name, answer)
