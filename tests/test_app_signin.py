"""The sign-in on a Space, all the way: an app that believes to be on one, Gradio's own sign-in, a provider over HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from calls import ask, assert_sentence, call, config, endpoints, http, server_functions
from label_workspaces import face
from signed_in import SECRET, SmallSpace, small_space
from test_app_rights import API_VALUES, PAGE_VALUES

from labeling.items import NewItem
from labeling.store import LabelStore

FACES = range(2, 6)


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Iterator[SmallSpace]:
    workspace = tmp_path_factory.mktemp("space")
    store = LabelStore(workspace / "labels")
    store.add(NewItem("set", f"face {number}", face(number), 112, 112, (0, 0, 112, 112), split="train") for number in FACES)
    store.close()
    with small_space(workspace, FER_TRAINERS="tina") as found:
        yield found


@pytest.fixture(scope="module")
def eve(space: SmallSpace) -> dict[str, str]:
    return space.signed_in("eve")


@pytest.fixture(scope="module")
def maria(space: SmallSpace) -> dict[str, str]:
    return space.signed_in("maria")


def answers(space: SmallSpace, headers: dict) -> dict[str, object]:
    """What everything but the public answers to a caller with `headers`: the sentence that refuses it, or None."""
    components, found = server_functions(space.address), {}
    for name, payload in PAGE_VALUES.items():
        answer = ask(space.address, name, _harmless(payload), headers) if name in components else {}
        found[name] = answer.get("error") if answer.get("refused") else None
    for name, values in API_VALUES.items():
        event, answer = call(space.address, name, *_harmless(values), headers=headers)
        found[name] = answer if event == "error" and _refuses(answer) else None
    return found


def _harmless(values):
    """`values` about a face and a label that are not there."""
    there = {"ITEM": 10**9, "REQUEST": "nothing"}
    if isinstance(values, dict):
        return {key: _harmless(value) for key, value in values.items()}
    return [_harmless(one) for one in values] if isinstance(values, list) else there.get(values, values)


def _refuses(sentence: object) -> bool:
    return isinstance(sentence, str) and sentence.startswith(("Labeling is for", "Training is for", "This is for"))


def rows(space: SmallSpace) -> list[tuple]:
    with closing(sqlite3.connect(space.workspace / "labels" / "labels.db")) as connection:
        return [
            row
            for table in ("judgements", "standing", "consents", "trust")
            for row in connection.execute(f"SELECT * FROM {table}")
        ]


def test_nobody_has_anything_who_has_not_signed_in(space):
    before = rows(space)
    found = answers(space, {})
    assert all(found.values()), {name for name, sentence in found.items() if not sentence}
    for sentence in set(found.values()):
        assert_sentence(sentence)
        assert "Sign in with Hugging Face" in sentence or "sign in with Hugging Face" in sentence
    assert rows(space) == before


def test_even_from_the_machine_itself_nobody_owns_a_space(space):
    assert ask(space.address, "data.imports", {}, {"Host": "127.0.0.1:7860"}).get("refused")


def test_everything_that_can_be_called_is_in_the_table_but_what_gradios_own_button_asks(space):
    known = {*API_VALUES, *PAGE_VALUES}
    called = (set(endpoints(space.address)) | set(server_functions(space.address))) - known
    public = {"predict", "correct", "withdraw", "data.withdraw"} | {name for name in called if name.startswith("try.")}
    others = called - public
    own = {str(one["api_name"] or one["id"]) for one in config(space.address)["dependencies"]
           if any(target[1] == "load" for target in one["targets"]) or not one["backend_fn"]}  # fmt: skip
    assert others <= own | {"words"}, others - own


def test_the_owner_may_everything_and_who_signed_in_may_label(space, eve, maria):
    assert not any(answers(space, maria).values())
    found = answers(space, eve)
    allowed = {name for name, sentence in found.items() if not sentence}
    assert {"label.judge", "label.more", "next", "label", "skip", "undo", "stats", "data.counts"} <= allowed
    assert {"train.start", "models.promote", "data.release", "data.bring", "import", "export", "promote", "rollback"}.isdisjoint(
        allowed
    )


def test_a_trainer_by_name_may_train_and_not_own(space):
    tina = space.signed_in("tina")
    assert not ask(space.address, "train.readiness", {}, tina).get("refused")
    assert ask(space.address, "data.imports", {}, tina).get("refused")


def test_the_signed_in_name_is_the_annotator_whatever_is_sent(space, eve):
    store = LabelStore(space.workspace / "labels")
    item = store.newest()
    payload = {"request": "by eve", "item": item, "annotator": "maria", "label": "fear", "second": None}
    answer = ask(space.address, "label.judge", payload, eve)
    assert answer["annotator"] == "eve" and answer["waits"]
    event, answer = call(space.address, "label", item, "anger", "maria", "by eve again", headers=eve)
    assert event == "complete" and answer["annotator"] == "eve"
    assert ask(space.address, "label.begin", {"annotator": "maria"}, eve)["annotator"] == "eve"
    assert {one.annotator for one in store.annotations(item)} == {"eve"}
    store.close()


def test_nobody_takes_back_what_somebody_else_said(space, eve):
    store = LabelStore(space.workspace / "labels")
    item = store.newest() - 1
    ask(
        space.address,
        "label.judge",
        {"request": "eves own", "item": item, "annotator": "x", "label": "fear", "second": None},
        eve,
    )
    assert "not yours" in ask(space.address, "label.undo", {"request": "eves own"}, space.signed_in("tom"))["error"]
    assert ask(space.address, "label.undo", {"request": "eves own"}, eve) == {}
    store.close()


def test_the_owners_labels_count_and_those_of_who_is_new_wait(space, eve, maria):
    store = LabelStore(space.workspace / "labels")
    one, other = store.newest() - 2, store.newest() - 3
    for who, item in ((eve, one), (maria, other)):
        ask(
            space.address,
            "label.judge",
            {"request": f"count {item}", "item": item, "annotator": "x", "label": "fear", "second": None},
            who,
        )
    answer = ask(space.address, "train.readiness", {}, maria)
    assert answer["held"] >= 1 and answer["to_learn"] == 1
    store.close()


@pytest.mark.parametrize("foreign", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.com"}, {"Origin": "null"}])
def test_a_page_of_another_site_cannot_use_the_sign_in(space, maria, foreign):
    # Inside the frame of the Hub's page this cookie goes along with everything a browser asks for.
    assert all(answers(space, {**maria, **foreign}).values())


def forged(name: str, secret: str) -> dict[str, str]:
    from itsdangerous import TimestampSigner

    info = {"userinfo": {"preferred_username": name, "orgs": []}, "expires_at": 9_999_999_999}
    signer = TimestampSigner(hashlib.sha256(secret.encode()).hexdigest())
    return {"Cookie": f"session={signer.sign(base64.b64encode(json.dumps({'oauth_info': info}).encode())).decode()}"}


@pytest.mark.parametrize("secret", ["-v4", "", "maria/studio-v4", f"{SECRET}-v3"])
def test_a_cookie_that_the_space_did_not_sign_names_nobody(space, secret):
    assert ask(space.address, "data.imports", {}, forged("maria", secret)).get("refused")
    assert ask(space.address, "label.begin", {"annotator": "maria"}, forged("maria", secret)).get("refused")


def test_the_way_of_forging_is_right_with_the_right_secret(space):
    assert not ask(space.address, "data.imports", {}, forged("maria", f"{SECRET}-v4")).get("refused")


def test_signing_out_ends_it(space):
    tom = space.signed_in("tom")
    assert not ask(space.address, "label.counts", {"annotator": "x"}, tom).get("refused")
    _, headers, cookies = space.get("/logout?_target_url=/", tom["Cookie"])
    assert cookies["session"] == "null"
    assert ask(space.address, "label.counts", {"annotator": "x"}, {"Cookie": "session=null"}).get("refused")


def test_the_page_has_the_button_and_names_no_secret(space):
    shown = http(f"{space.address}/config")[1] + http(f"{space.address}/")[1]
    assert b"Sign in with Hugging Face" in shown and SECRET.encode() not in shown
    status, headers, _ = space.get("/enter")
    assert (
        status == 200 and "huggingface.co" in {name.lower(): value for name, value in headers.items()}["content-security-policy"]
    )


def test_a_space_without_sign_in_starts_and_gives_nobody_anything(tmp_path):
    with small_space(tmp_path, OAUTH_CLIENT_ID="") as bare:
        assert ask(bare.address, "label.begin", {"annotator": "x"}, forged("maria", "-v4")).get("refused")
        assert b"Sign in with Hugging Face" not in http(f"{bare.address}/config")[1]
        keys = json.loads((tmp_path / "keys.json").read_text())
        assert "imports" in ask(bare.address, "data.imports", {}, {"Authorization": f"Bearer {keys['own']}"})
