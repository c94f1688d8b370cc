"""People over HTTP, as strangers would try it: passwords and guessing, limits, floods, names, labels that wait."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from calls import ask, ask_component, assert_sentence, call, data_url, http as fetch, server_functions
from conftest import COLLINS, ROOT
from label_workspaces import face, says

import app
from labeling.items import NewItem
from labeling.limits import MOST_IN_FLIGHT, Budget, Guesses, LimitReached
from labeling.people import COOKIE, LABELER, OWNER, REFUSALS
from labeling.snapshot import gathered
from labeling.trust import WAITS

HER = [180, 62, 267, 173]  # the face in the photograph, pixels
WORDS = {"FER_OWNER_PASSWORD": "correct horse battery", "FER_LABELER_PASSWORD": "staple staple staple"}
_numbers = iter(range(1, 1_000_000))


@contextmanager
def served(workspace: Path, **environment: str) -> Iterator[tuple[app.Services, str]]:
    """An app that other machines reach, behind one proxy: X-Forwarded-For says who asks."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"FER_PROXIES": "1", **environment}.items():
            patch.setenv(name, value)
        services = app.Services(app.Settings(host="0.0.0.0", workspace=workspace))
    page, address = app.launch(services, block=False)
    try:
        services.recognizer()
        yield services, f"http://127.0.0.1:{address.rstrip('/').rpartition(':')[2]}"
    finally:
        page.close()
        services.close()


@pytest.fixture(scope="module")
def open_app(tmp_path_factory) -> Iterator[tuple[app.Services, str]]:
    limits = {"FER_LIMIT_PREDICTIONS": "3", "FER_LIMIT_CONTRIBUTIONS": "2"}
    with served(tmp_path_factory.mktemp("open"), **WORDS, **limits) as found:
        yield found


def visitor() -> dict[str, str]:
    """Headers of somebody who was never here."""
    number = next(_numbers)
    return {"X-Forwarded-For": f"11.{number // 65536}.{number // 256 % 256}.{number % 256}"}


def knock(
    address: str, method: str = "GET", path: str = "/enter", headers: dict | None = None, **form: str
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body, without following where the answer leads."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=30)
    body = urllib.parse.urlencode(form) if method == "POST" else None
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
    connection.request(method, path, body, {**kind, **(headers or {})})
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
    connection.close()
    return found


def typed(address: str, password: str, headers: dict | None = None) -> tuple[int, dict[str, str], str]:
    return knock(address, "POST", headers=headers if headers is not None else visitor(), password=password)


def cookie_in(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition(";")[0]


# --- the form -----------------------------------------------------------------------------------


def test_without_a_key_there_is_a_form_that_nobody_can_put_into_a_frame(open_app):
    status, headers, page = knock(open_app[1])
    assert status == 200 and '<form method="post" action="enter">' in page and "<script" not in page
    assert "frame-ancestors 'none'" in headers["content-security-policy"] and headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin", "with none of it browsers would not say whose form it is"
    assert "set-cookie" not in headers


@pytest.mark.parametrize(
    ("password", "role", "rights"), [("FER_OWNER_PASSWORD", "own", OWNER), ("FER_LABELER_PASSWORD", "label", LABELER)]
)
def test_a_right_password_lets_in_for_what_it_is_for(open_app, password, role, rights):
    services, address = open_app
    status, headers, _ = typed(address, WORDS[password])
    assert status == 303 and headers["location"] == "./"
    assert {"HttpOnly", "SameSite=Lax"} <= set(headers["set-cookie"].split("; ")) and "Secure" not in headers["set-cookie"]
    assert WORDS[password] not in headers["set-cookie"] and services.house.keys.own not in headers["set-cookie"]
    shown = {"Cookie": cookie_in(headers), **visitor()}
    answer = ask(address, "data.imports", {}, shown)
    assert (answer == {"imports": {}}) is (role == "own")
    assert "faces" in ask(address, "label.begin", {"annotator": f"Ada {role}"}, shown)
    assert services.house.rights({"cookie": cookie_in(headers)}, "8.8.8.8") == rights


def test_over_https_the_cookie_stays_there(open_app):
    _, headers, _ = typed(open_app[1], WORDS["FER_LABELER_PASSWORD"], {**visitor(), "X-Forwarded-Proto": "https"})
    assert "Secure" in headers["set-cookie"].split("; ")


def test_a_cookie_outlives_a_restart_and_not_a_change_of_the_password(open_app, monkeypatch):
    services, address = open_app
    _, headers, _ = typed(address, WORDS["FER_LABELER_PASSWORD"])
    for name, value in WORDS.items():
        monkeypatch.setenv(name, value)
    again = app.Services(services.settings)
    assert again.house.rights({"cookie": cookie_in(headers)}, "8.8.8.8") == LABELER
    monkeypatch.setenv("FER_LABELER_PASSWORD", "another one")
    assert app.Services(services.settings).house.rights({"cookie": cookie_in(headers)}, "8.8.8.8") == {"public"}


@pytest.mark.parametrize("shown", ["bearer", "cookie", "key"])
def test_a_password_is_no_key(open_app, shown):
    password = WORDS["FER_OWNER_PASSWORD"]
    headers = {"bearer": {"Authorization": f"Bearer {password}"}, "cookie": {"Cookie": f"{COOKIE}={password}"}, "key": {}}[shown]
    assert ask(open_app[1], "data.imports", {}, {**visitor(), **headers}).get("refused")
    if shown == "key":
        assert knock(open_app[1], path=f"/enter?key={urllib.parse.quote(password)}", headers=visitor())[0] == 403


def test_a_wrong_password_says_so_and_the_way_out_forgets(open_app):
    status, headers, page = typed(open_app[1], "wrong")
    assert status == 403 and "set-cookie" not in headers and 'role="alert"' in page and "wrong" not in page
    _, headers, _ = typed(open_app[1], WORDS["FER_OWNER_PASSWORD"])
    inside = knock(open_app[1], headers={"Cookie": cookie_in(headers)})[2]
    assert "You are in as the owner" in inside and WORDS["FER_OWNER_PASSWORD"] not in inside
    status, headers, _ = knock(open_app[1], "POST", leave="yes", headers={"Cookie": cookie_in(headers)})
    assert status == 303 and f"{COOKIE}=;" in headers["set-cookie"] and "Max-Age=0" in headers["set-cookie"]


@pytest.mark.parametrize(
    "foreign",
    [{"Origin": "https://evil.com"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}],
)
def test_a_page_of_another_site_lets_nobody_in_and_guesses_nothing(open_app, foreign):
    who = visitor()
    for _ in range(Guesses.FREE + 2):
        status, headers, _ = typed(open_app[1], WORDS["FER_OWNER_PASSWORD"], {**who, **foreign})
        assert status == 403 and "set-cookie" not in headers
    assert typed(open_app[1], WORDS["FER_OWNER_PASSWORD"], who)[0] == 303


BODIES = {
    "nothing": (b"", 400), "no password": (b"name=x", 400), "json": (b'{"password": "x"}', 400), "bytes": (bytes(range(256)),
    400),
    "a thousand fields": (b"&".join(b"a=b" for _ in range(1000)), 400), "a novel": (b"password=" + b"x" * 200_000, 403),
    "not utf-8": (b"password=%ff%fe", 403),
}  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_whatever_is_sent_there_is_an_answer(open_app, what):
    body, wanted = BODIES[what]
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(open_app[1]).netloc, timeout=30)
    try:
        connection.request("POST", "/enter", body, {"Content-Type": "application/x-www-form-urlencoded", **visitor()})
        assert connection.getresponse().status == wanted
    except (BrokenPipeError, ConnectionResetError):
        assert what == "a novel"  # not read to its end
    connection.close()


def test_the_passwords_are_never_in_a_page(open_app):
    shown = b"".join(fetch(f"{open_app[1]}{path}")[1] for path in ("/", "/config", "/enter", "/healthz", "/gradio_api/info"))
    assert not any(word.encode() in shown for word in WORDS.values())
    assert b"Come in with a password" in shown


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (dict.fromkeys(WORDS, "one for both"), "choose two"),
        ({"FER_LIMIT_PREDICTIONS": "many"}, "FER_LIMIT_PREDICTIONS is “many”"),
        ({"FER_PROXIES": "some"}, "FER_PROXIES is “some”"),
    ],
)
def test_an_app_with_a_variable_that_cannot_be_meant_does_not_start(tmp_path, environment, words):
    command = [sys.executable, "app.py", "--host", "0.0.0.0", "--workspace", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and words in done.stderr and "one for both" not in done.stderr + done.stdout
    assert_sentence(done.stderr.strip().splitlines()[-1])


# --- guessing -----------------------------------------------------------------------------------


def test_guessing_is_slowed_down_also_for_the_right_one_and_only_for_the_guesser(open_app):
    services, address = open_app
    who = visitor()
    assert [typed(address, f"guess {number}", who)[0] for number in range(Guesses.FREE)] == [403] * Guesses.FREE
    status, headers, page = typed(address, WORDS["FER_OWNER_PASSWORD"], who)
    assert status == 429 and int(headers["retry-after"]) >= 1 and "try again in" in page and "set-cookie" not in headers
    assert typed(address, WORDS["FER_OWNER_PASSWORD"])[0] == 303, "somebody else"
    assert knock(address, path=f"/enter?key={services.house.keys.own}", headers=who)[0] == 303, "a link is beyond guessing"
    # Whoever asks writes the beginning of that header, and its proxy the end.
    pretended = {"X-Forwarded-For": f"{visitor()['X-Forwarded-For']}, {who['X-Forwarded-For']}"}
    assert typed(address, WORDS["FER_OWNER_PASSWORD"], pretended)[0] == 429


def test_many_guesses_at_once_are_no_better(open_app):
    who, found, start = visitor(), [], threading.Barrier(24)

    def guess(number: int) -> None:
        start.wait()
        found.append(typed(open_app[1], f"guess {number}", who)[0])

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(24)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found.count(403) == Guesses.FREE and found.count(429) == 24 - Guesses.FREE


def test_wrong_links_are_slowed_down_too(open_app):
    who = visitor()
    found = [knock(open_app[1], path=f"/enter?key=guess{number}", headers=who) for number in range(Guesses.FREE + 1)]
    assert [status for status, _, _ in found] == [403] * Guesses.FREE + [429]
    assert "retry-after" in found[-1][1]


def test_without_a_proxy_to_be_believed_nobody_says_who_they_are(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WORDS.items():
            patch.setenv(name, value)
        services = app.Services(app.Settings(host="0.0.0.0", workspace=tmp_path))
    page, address = app.launch(services, block=False)
    address = f"http://127.0.0.1:{address.rstrip('/').rpartition(':')[2]}"
    try:
        assert [typed(address, "wrong")[0] for _ in range(Guesses.FREE + 1)] == [403] * Guesses.FREE + [429]
    finally:
        page.close()
        services.close()


# --- limits -------------------------------------------------------------------------------------

PICTURE = {"name": "a.jpg", "picture": data_url(COLLINS), "preview": False}


def correction(name: str = "Eve", code: str | None = None, **more: object) -> dict:
    return {"picture": data_url(COLLINS), "box": HER, "label": "fear", "request": f"flood {next(_numbers)}", "annotator": name,
            "code": code, "pixels": True, "source": "photo", **more}  # fmt: skip


def inside(services: app.Services, role: str) -> dict[str, str]:
    return {**visitor(), "Authorization": f"Bearer {getattr(services.house.keys, role)}"}


def test_a_visitor_gets_so_many_predictions_a_minute_whichever_way(open_app):
    services, address = open_app
    who = visitor()
    assert "reading" in ask(address, "try.read_picture", PICTURE, who)
    assert "crop" in ask(address, "try.explain", {"picture": PICTURE["picture"], "box": HER, "expression": "fear"}, who)
    event, _ = call(address, "predict", {"url": PICTURE["picture"], "meta": {"_type": "gradio.FileData"}}, headers=who)
    assert event == "complete"
    refused = ask(address, "try.read_picture", PICTURE, who)
    assert set(refused) == {"error", "wait"} and 1 <= refused["wait"] <= 60
    assert_sentence(refused["error"])
    event, sentence = call(address, "predict", {"url": PICTURE["picture"], "meta": {"_type": "gradio.FileData"}}, headers=who)
    assert event == "error" and sentence.startswith("A visitor may have 3 pictures a minute; go on in")
    status, body = fetch(
        f"{address}/gradio_api/run/predict", {"data": [{"url": PICTURE["picture"], "meta": {"_type": "gradio.FileData"}}]}, who
    )
    assert status >= 400 and b"faces" not in body
    assert "reading" in ask(address, "try.read_picture", PICTURE, visitor()), "somebody else is not kept waiting"
    assert all("reading" in ask(address, "try.read_picture", PICTURE, inside(services, "own")) for _ in range(5)), (
        "nor is an owner"
    )


def test_a_pretended_address_or_cookie_gets_no_more(open_app):
    who = visitor()["X-Forwarded-For"]
    answers = [
        ask(open_app[1], "try.read_picture", PICTURE, {"X-Forwarded-For": f"{visitor()['X-Forwarded-For']}, {who}",
            "X-Real-Ip": f"1.1.1.{number}",
                                                       "Cookie": f"{COOKIE}=x{number}", "User-Agent": str(number)})
        for number in range(6)
    ]  # fmt: skip
    assert ["reading" in one for one in answers] == [True] * 3 + [False] * 3


def test_live_video_is_not_counted_but_nobody_fills_all_threads(open_app):
    services, address = open_app
    component, who, found = server_functions(address)["try.read_frame"], visitor(), []
    frame = {"viewer": "v", "picture": PICTURE["picture"], "smoothing": 0.3}
    assert all("faces" in ask_component(address, component, "read_frame", {**frame, "viewer": "w"}, who) for _ in range(6))
    turns = [services.turns.turn() for _ in range(services.turns._free)]
    for one in turns:
        one.__enter__()
    try:
        threads = [
            threading.Thread(target=lambda number=number: found.append(
                ask_component(address, component, "read_frame", {**frame, "viewer": f"v{number}"}, who)))
            for number in range(MOST_IN_FLIGHT + 8)
        ]  # fmt: skip
        for one in threads:
            one.start()
        for one in threads:
            one.join(3)
            if len(found) >= 8:
                break
        assert len(found) == 8 and all("being read already" in one["error"] for one in found)
        labels = inside(services, "label")
        assert "faces" in ask(address, "label.begin", {"annotator": "Tom"}, labels), "labels go on meanwhile"
    finally:
        for one in turns:
            one.__exit__(None, None, None)
    for one in threads:
        one.join()
    assert services.flights._under_way == {}


def test_a_visitor_contributes_so_many_faces_an_hour_whichever_way(open_app):
    services, address = open_app
    who = visitor()
    code = ask(address, "try.agree", {}, who)["code"]
    assert "kept" in ask(address, "try.correct", correction(code=code), who)
    picture = {"url": PICTURE["picture"], "meta": {"_type": "gradio.FileData"}}
    event, _ = call(address, "correct", picture, HER, "anger", "Eve", code, f"flood {next(_numbers)}", headers=who)
    assert event == "complete"
    refused = ask(address, "try.correct", correction(code=code), who)
    assert refused["error"].startswith("A visitor may have 2 faces an hour; go on in") and refused["wait"] > 60
    event, sentence = call(address, "correct", picture, HER, "anger", "Eve", "true", f"flood {next(_numbers)}", headers=who)
    assert event == "error" and "2 faces an hour" in sentence
    assert all("kept" in ask(address, "try.correct", correction(code=code), inside(services, "own")) for _ in range(3))


def test_a_visitor_fills_no_more_than_so_much_of_the_disk(tmp_path):
    with served(tmp_path, FER_LIMIT_MEGABYTES="1", FER_LIMIT_CONTRIBUTIONS="0") as (services, address):
        services.limits._budgets["bytes"] = services.limits._budgets["bytes"].__class__(70_000, 86_400.0, "MB of faces", 1)
        who = visitor()
        code = ask(address, "try.agree", {}, who)["code"]
        answers = [ask(address, "try.correct", correction(code=code), who) for _ in range(4)]
        assert "kept" in answers[0] and "a day" in answers[-1]["error"]
        stored = sum(path.stat().st_size for path in (tmp_path / "labels" / "images").rglob("*.png"))
        assert stored <= 70_000


def test_uploads_that_nobody_reads_are_limited_before_they_lie_on_the_disk(open_app):
    services, address = open_app
    who = visitor()
    budget = 1_000_000
    services.limits._budgets["uploads"] = services.limits._budgets["uploads"].__class__(budget, 86_400.0, "MB of uploads", 1)
    services.limits.take("uploads", f"address {who['X-Forwarded-For']}", budget - 25_000)

    def send(headers: dict, body: bytes = b"x" * 9000, path: str = "/gradio_api/upload") -> tuple[int, dict, str]:
        head = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=30)
        connection.request(
            "POST", path, head + body + b"\r\n--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge", **headers}
        )
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()

    assert [send(who)[0] for _ in range(2)] == [200, 200]
    status, headers, body = send(who)
    assert status == 429 and int(headers["retry-after"]) >= 1
    assert_sentence(json.loads(body)["error"])
    assert send(who, path="/gradio_api/upload/")[0] == 429 and send(who, path="/gradio_api//upload")[0] in (404, 405, 429)
    assert send(visitor())[0] == 200 and send(inside(services, "own"))[0] == 200
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=30)
    connection.request("POST", "/gradio_api/upload", iter([b"x" * 1000] * 3), {**visitor(),
        "Content-Type": "multipart/form-data; boundary=edge"},
                       encode_chunked=True)  # fmt: skip
    assert connection.getresponse().status == 411


def test_codes_cannot_be_tried_out(open_app):
    who = visitor()
    answers = [ask(open_app[1], "try.withdraw", {"code": f"AAAA-BBBB-CCCC-{number:04d}"}, who)["error"] for number in range(32)]
    assert "Nothing is kept" in answers[0] and "withdrawals an hour" in answers[-1]


def test_labels_that_come_too_fast_are_sent_again_by_the_page_and_not_lost(open_app, monkeypatch):
    services, address = open_app
    monkeypatch.setitem(services.limits._budgets, "labels", Budget(2, 60.0, "labels"))
    (item,) = services.labels().add([NewItem("set", "fast", face(6), 112, 112, (0, 0, 112, 112))])
    who = inside(services, "label")
    answers = [label(address, item, "Tom", who, said) for said in ("fear", "anger", "sadness")]
    assert [one.get("label") for one in answers] == ["fear", "anger", None]
    assert set(answers[2]) == {"error", "wait"}, "final or refused would let the page forget it"
    event, sentence = call(address, "label", item, "sadness", "Tom", "too fast", headers=who)
    assert event == "error" and sentence.startswith("A visitor may have 2 labels a minute")


def test_at_home_there_are_no_limits(app_served):
    services, address = app_served
    assert all("reading" in ask(address, "try.read_picture", PICTURE) for _ in range(4))
    with pytest.raises(LimitReached):
        for _ in range(1000):
            services.limits.take("predictions", "address 8.8.8.8")


# --- names, and labels that wait ----------------------------------------------------------------


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Iterator[tuple[app.Services, str]]:
    """An app of its own for what is labelled."""
    with served(tmp_path_factory.mktemp("studio"), **WORDS) as found:
        yield found


def label(address: str, item: int, name: str, headers: dict, said: str = "fear", request: str | None = None) -> dict:
    request = request or f"label {next(_numbers)}"
    return ask(
        address, "label.judge", {"request": request, "item": item, "annotator": name, "label": said, "second": None}, headers
    )


def votes(services: app.Services, item: int) -> dict | None:
    return next((line["votes"] for line in gathered(services.labels())[0] if line["item"] == item), None)


def test_a_flood_of_a_visitor_reaches_no_snapshot_until_an_owner_agrees(studio):
    services, address = studio
    who = visitor()
    code = ask(address, "try.agree", {}, who)["code"]
    answer = ask(address, "try.correct", correction("Maria", code), who)
    kept = services.labels().annotations(services.labels().newest())[0]
    assert answer == {"kept": kept.id, "waits": WAITS} and kept.annotator == "visitor Maria"
    assert votes(services, kept.item) is None and services.readiness()["held"] == 1
    assert label(address, kept.item, "Maria", inside(services, "own"))["kind"] == "label"
    assert votes(services, kept.item) == {"fear": 2.0}
    refused = label(address, kept.item, "Maria", inside(services, "label"), "anger")
    assert "the name of somebody who runs this app" in refused["error"]
    assert votes(services, kept.item) == {"fear": 2.0}


@pytest.mark.parametrize("name", ["visitor-abc", "visitor abc", "visitor visitor-abc", " abc "])
def test_a_visitors_name_says_so_once(studio, name):
    services, address = studio
    who = visitor()
    code = ask(address, "try.agree", {}, who)["code"]
    ask(address, "try.correct", correction(name, code), who)
    assert services.labels().annotations(services.labels().newest())[0].annotator == "visitor abc"


@pytest.mark.parametrize("name", ["x" * 61, "", None, 7, ["Maria"]])
def test_a_visitor_without_a_fitting_name_leaves_nothing_under_another(studio, name):
    services, address = studio
    who, before = visitor(), services.labels().newest()
    code = ask(address, "try.agree", {}, who)["code"]
    answer = ask(address, "try.correct", correction(name, code), who)
    if "kept" in answer:  # what is no text is a name as text
        (kept,) = services.labels().annotations(services.labels().newest())
        assert kept.annotator.startswith("visitor ") and votes(services, kept.item) is None
    else:
        assert services.labels().newest() == before


def test_new_labelers_wait_and_are_released_by_the_owner_on_the_data_tab(studio):
    services, address = studio
    (item,) = services.labels().add([NewItem("set", "eve", face(4), 112, 112, (0, 0, 112, 112), split="train")])
    eve, owner = inside(services, "label"), inside(services, "own")
    answer = label(address, item, "Eve", eve)
    assert answer["waits"] == WAITS and votes(services, item) is None
    (listed,) = [one for one in ask(address, "data.counts", {}, eve)["newcomers"] if one["name"] == "Eve"]
    assert (listed["labels"], listed["held"], listed["standing"]) == (1, 1, "new") and "key" not in listed
    for payload in ({"newcomer": listed["id"], "release": True}, {"newcomer": listed["id"]}):
        assert ask(address, "data.release", payload, eve) == {
            "error": services.house.refusal("own", services.house.caller({}, None)),
            "refused": True,
        }
    shown = ask(address, "data.faces", {"newcomer": listed["id"]}, owner)["faces"]
    assert [(one["item"], one["words"]) for one in shown] == [(item, "fear")] and shown[0]["chip"].startswith("data:image/png")
    answer = ask(address, "data.release", {"newcomer": listed["id"], "release": True}, owner)
    assert [one["standing"] for one in answer["newcomers"] if one["name"] == "Eve"] == ["trusted"]
    assert votes(services, item) == {"fear": 1.0}
    ask(address, "data.release", {"newcomer": listed["id"], "release": False}, owner)
    assert votes(services, item) is None
    assert "no such newcomer" in ask(address, "data.release", {"newcomer": "nobody", "release": True}, owner)["error"]


def test_what_is_kept_of_a_code_is_shown_to_nobody(studio):
    services, address = studio
    who = visitor()
    code = ask(address, "try.agree", {}, who)["code"]
    ask(address, "try.correct", correction("coded", code), who)
    known = hashlib.sha256(code.replace("-", "").encode()).hexdigest()
    assert known[:16] not in json.dumps(ask(address, "data.counts", {}, inside(services, "own")))


def test_nobody_takes_back_what_others_said(studio):
    services, address = studio
    (item,) = services.labels().add([NewItem("set", "home", face(5), 112, 112, (0, 0, 112, 112), split="train")])
    services.labels().judge(item, says("from home", "anger", "Grace"))
    guest = inside(services, "label")
    assert "not yours" in ask(address, "label.undo", {"request": "from home"}, guest)["error"]
    event, sentence = call(address, "undo", "from home", headers=guest)
    assert event == "error" and "not yours" in sentence
    assert votes(services, item) == {"anger": 1.0}
    label(address, item, "Tom", guest, request="toms own")
    assert ask(address, "label.undo", {"request": "toms own"}, guest) == {}
    assert ask(address, "label.undo", {"request": "from home"}, inside(services, "own")) == {}
    assert votes(services, item) is None


def test_nobody_takes_the_place_of_an_import(studio):
    services, address = studio
    (item,) = services.labels().add([NewItem("set", "import", face(7), 112, 112, (0, 0, 112, 112))])
    answer = label(address, item, "Tom", inside(services, "label"), request="import:0123")
    assert_sentence(answer["error"])
    assert services.labels().annotation("import:0123") is None


def test_a_sign_in_that_gradio_plays_outside_of_spaces_gives_nothing(studio):
    from itsdangerous import TimestampSigner

    services, address = studio
    info = {"userinfo": {"preferred_username": "maria", "name": "Maria", "orgs": []}, "expires_at": 9_999_999_999}
    secret = hashlib.sha256(b"-v4").hexdigest()  # what Gradio signs with where there is no secret
    forged = TimestampSigner(secret).sign(base64.b64encode(json.dumps({"oauth_info": info}).encode())).decode()
    for cookie in (f"session={forged}", f"{COOKIE}={forged}", "session=x"):
        assert ask(address, "label.begin", {"annotator": "maria"}, {**visitor(), "Cookie": cookie}).get("refused")
    assert fetch(f"{address}/login/huggingface")[0] == 404 and fetch(f"{address}/login/callback")[0] == 404


def test_a_cookie_does_not_act_for_a_page_of_another_site(studio):
    services, address = studio
    shown = {**visitor(), "Cookie": f"{COOKIE}={services.house.keys.own}"}
    assert "imports" in ask(address, "data.imports", {}, shown)
    for foreign in ({"Origin": "https://evil.com"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://127.0.0.1:1"}):
        assert ask(address, "data.imports", {}, {**shown, **foreign}).get("refused")
        event, sentence = call(address, "snapshot", headers={**shown, **foreign})
        assert event == "error" and sentence == services.house.refusal("train", services.house.caller({}, None))
    assert set(REFUSALS) == OWNER - {"public"}
