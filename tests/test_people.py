"""Rights: who owns the app without a password, whose key opens what, and where the keys are kept."""

from __future__ import annotations

import json
import os
import stat

import pytest
from label_workspaces import child, read_only, said_by

from labeling import judgements, people
from labeling.passwords import Passwords
from labeling.people import LABELER, OWNER, PUBLIC, REFUSALS, Caller, House, Keys, is_local

KEYS = Keys(label="the-label-key", own="the-own-key")
HERE = House(local=True, keys=KEYS)
OUTSIDE = House(local=False, keys=KEYS)
FROM_HERE = {"host": "127.0.0.1:7860"}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "[::1]", "0:0:0:0:0:0:0:1"])
def test_names_of_this_machine_alone_are_local(host):
    assert is_local(host)


@pytest.mark.parametrize("host", [
    None, "", " ", "0.0.0.0", "::", "[::]", "192.168.0.7", "8.8.8.8", "fe80::1", "localhost.evil.com", "evil.com",
        "127.0.0.1.evil.com",
    "evil-localhost", "127.0.0.1@evil.com", "127.1", "2130706433", "0x7f.0.0.1", "localhost:7860",
])  # fmt: skip
def test_any_other_name_is_not(host):
    assert not is_local(host)


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost", "[::1]:7860", "LocalHost:80"])
@pytest.mark.parametrize("client", ["127.0.0.1", "::1", None])
def test_whoever_sits_at_the_machine_owns_the_app(host, client):
    assert HERE.rights({"host": host}, client) == OWNER
    assert HERE.rights({"host": host, "origin": f"http://{host}", "sec-fetch-site": "same-origin"}, client) == OWNER
    assert HERE.rights({"host": host, "sec-fetch-site": "none"}, client) == OWNER


@pytest.mark.parametrize("odd", [
    {"host": "studio.example.org"}, {"host": "127.0.0.1.evil.com:7860"}, {"host": "localhost.evil.com"}, {"host": ""},
    {"host": "0.0.0.0:7860"}, {"host": "192.168.0.7:7860"},
    {"origin": "https://evil.com"}, {"origin": "http://127.0.0.1.evil.com"}, {"origin": "null"}, {"origin": ""},
    {"origin": "file://"}, {"origin": "http://localhost@evil.com"},
    {"x-forwarded-for": "127.0.0.1"}, {"x-forwarded-host": "localhost"}, {"x-real-ip": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"}, {"via": "1.1 proxy"}, {"x-forwarded-for": ""},
    {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"sec-fetch-site": "anything"},
])  # fmt: skip
def test_a_request_that_may_come_from_elsewhere_owns_nothing(odd):
    assert HERE.rights({**FROM_HERE, **odd}, "127.0.0.1") == PUBLIC


@pytest.mark.parametrize("odd", [{"host": "["}, {"host": "[::1"}, {"origin": "http://["}, {"origin": "http://[x]"}])
def test_a_header_that_makes_no_sense_gives_no_right_and_no_fault(odd):
    assert HERE.rights({**FROM_HERE, **odd}, "127.0.0.1") == PUBLIC


def test_a_request_without_a_host_or_from_another_machine_owns_nothing():
    assert HERE.rights({}, "127.0.0.1") == PUBLIC
    assert HERE.rights(FROM_HERE, "192.168.0.7") == PUBLIC
    assert HERE.rights(FROM_HERE, "") == PUBLIC


def test_an_app_that_others_reach_gives_nobody_anything_without_a_key():
    assert OUTSIDE.rights(FROM_HERE, "127.0.0.1") == PUBLIC
    assert OUTSIDE.rights({"host": "studio.example.org"}, "8.8.8.8") == PUBLIC


@pytest.mark.parametrize("house", [HERE, OUTSIDE])
@pytest.mark.parametrize(("key", "rights"), [(KEYS.label, LABELER), (KEYS.own, OWNER)])
def test_a_key_opens_the_same_as_bearer_and_as_cookie(house, key, rights):
    elsewhere = {"host": "studio.example.org", "x-forwarded-for": "8.8.8.8"}
    for shown in ({"authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key} "}, {"cookie": f"studio_key={key}"},
                  {"cookie": f"theme=dark; studio_key={key}; other=1"}):  # fmt: skip
        assert house.rights({**elsewhere, **shown}, "8.8.8.8") == rights, shown


@pytest.mark.parametrize("shown", [
    {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}, {"authorization": "Bearer"}, {"authorization": KEYS.own},
    {"authorization": f"Basic {KEYS.own}"}, {"authorization": f"Bearer {KEYS.own}x"},
    {"authorization": f"Bearer {KEYS.own[:-1]}"},
    {"authorization": "Bearer schlüssel"}, {"cookie": ""}, {"cookie": "studio_key="}, {"cookie": "studio_key"},
    {"cookie": f"not_studio_key={KEYS.own}"}, {"cookie": f"studio_key={KEYS.own.upper()}"},
])  # fmt: skip
def test_a_wrong_key_opens_nothing(shown):
    assert OUTSIDE.rights(shown, "8.8.8.8") == PUBLIC


def test_the_rights_contain_each_other_and_every_refusal_is_a_sentence():
    assert PUBLIC < LABELER < OWNER
    assert set(REFUSALS) == OWNER - PUBLIC
    assert all(sentence.endswith(".") and "\n" not in sentence for sentence in REFUSALS.values())


# --- where the keys are kept --------------------------------------------------------------------


def test_keys_are_long_and_never_the_same():
    keys = [Keys.fresh() for _ in range(50)]
    drawn = {one.label for one in keys} | {one.own for one in keys}
    assert len(drawn) == 100 and min(map(len, drawn)) >= 20


def test_keys_outlive_the_app_in_a_file_for_its_owner_alone(tmp_path):
    path = tmp_path / "workspace" / "keys.json"
    first = Keys.kept_in(path)
    assert Keys.kept_in(path) == first
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"label": "a"}', '{"label": "a", "own": "b", "more": "c"}',
                                     '{"label": 1, "own": null}', '{"label": "", "own": ""}'])  # fmt: skip
def test_a_damaged_file_of_keys_is_replaced_by_one_that_opens(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    keys = Keys.kept_in(path)
    assert json.loads(path.read_text()) == {"label": keys.label, "own": keys.own}
    assert House(False, keys).rights({"authorization": f"Bearer {keys.own}"}, None) == OWNER


def test_where_nothing_can_be_written_keys_hold_until_the_app_stops(tmp_path):
    with read_only(tmp_path):
        first, second = Keys.kept_in(tmp_path / "keys.json"), Keys.kept_in(tmp_path / "keys.json")
    assert first != second and House(False, first).rights({"authorization": f"Bearer {first.own}"}, None) == OWNER
    assert list(tmp_path.iterdir()) == []


def test_keys_that_cannot_be_read_are_not_overwritten(tmp_path):
    path = tmp_path / "keys.json"
    kept = Keys.kept_in(path)
    code = "from pathlib import Path; from labeling.people import Keys; print(Keys.kept_in(Path(sys.argv[1])).own)"
    tmp_path.chmod(0o755)
    assert said_by(child(code, path, nobody=True)) not in ("", kept.own)
    assert Keys.kept_in(path) == kept


@pytest.mark.parametrize("content", ['{"label": "guess", "own": "me"}', '{"label": "abcdefghijklmnopqrst", "own": "short"}'])
def test_keys_that_can_be_guessed_are_replaced(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    keys = Keys.kept_in(path)
    assert keys.own not in content and min(len(keys.own), len(keys.label)) >= 20


# --- passwords, proxies, names ------------------------------------------------------------------

PASSWORDS = Passwords(label="come in and label", own="the owner's own")


@pytest.mark.parametrize(("role", "rights"), [("label", LABELER), ("own", OWNER)])
def test_a_token_opens_as_a_cookie_and_never_as_a_key(role, rights):
    house = House(False, KEYS, PASSWORDS)
    token = PASSWORDS.token(role, KEYS)
    assert house.rights({"cookie": f"studio_key={token}"}, "8.8.8.8") == rights
    assert house.rights({"authorization": f"Bearer {token}"}, "8.8.8.8") == PUBLIC and house.role_of(token) is None
    assert OUTSIDE.rights({"cookie": f"studio_key={token}"}, "8.8.8.8") == PUBLIC


@pytest.mark.parametrize(
    "foreign",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.com"}, {"origin": "null"}],
)
def test_a_cookie_says_nothing_when_another_site_asks_and_a_bearer_does(foreign):
    asked = {"host": "studio.example.org", **foreign}
    assert OUTSIDE.rights({**asked, "cookie": f"studio_key={KEYS.own}"}, "8.8.8.8") == PUBLIC
    assert OUTSIDE.rights({**asked, "authorization": f"Bearer {KEYS.own}"}, "8.8.8.8") == OWNER


@pytest.mark.parametrize(("environment", "proxies", "inner"), [
    ({}, 0, False), ({"FER_PROXIES": "2"}, 2, False), ({"SPACE_ID": "maria/studio"}, 1, True), ({"SPACE_ID": "x/y",
    "FER_PROXIES": "0"}, 0, True),
])  # fmt: skip
def test_proxies_are_believed_where_the_environment_says_so(tmp_path, environment, proxies, inner):
    house = House.given_by(environment, False, tmp_path / "keys.json")
    assert (house.proxies, house.inner) == (proxies, inner)


@pytest.mark.parametrize("given", ["-1", "yes", "1.5", "11", "9" * 30])
def test_a_number_of_proxies_that_cannot_be_meant_is_a_sentence(tmp_path, given):
    with pytest.raises(ValueError, match="FER_PROXIES"):
        House.given_by({"FER_PROXIES": given}, False, tmp_path / "keys.json")


def test_short_passwords_are_advised_against(tmp_path, caplog):
    House.given_by({"FER_OWNER_PASSWORD": "short"}, False, tmp_path / "keys.json")
    assert (
        "FER_OWNER_PASSWORD has fewer than 8 letters" in caplog.text and "short" not in caplog.text.split("FER_OWNER_PASSWORD")[0]
    )


def test_callers_are_told_apart_by_what_is_known_of_them():
    visitor = OUTSIDE.caller({}, "8.8.8.8")
    labeler = OUTSIDE.caller({"authorization": f"Bearer {KEYS.label}"}, "8.8.8.8")
    other = OUTSIDE.caller({"authorization": f"Bearer {KEYS.label}"}, "9.9.9.9")
    assert len({visitor.who, labeler.who, other.who}) == 3
    assert visitor.limited and labeler.limited and visitor.is_visitor and not labeler.is_visitor
    assert (
        not OUTSIDE.caller({"authorization": f"Bearer {KEYS.own}"}, "8.8.8.8").limited
        and not HERE.caller(FROM_HERE, "127.0.0.1").limited
    )


@pytest.mark.parametrize(("sent", "kept"), [
    ("Maria", "visitor Maria"), (" Maria ", "visitor Maria"), ("visitor-a1b2", "visitor a1b2"), ("visitor visitor-a1b2",
    "visitor a1b2"),
    ("visitor-", "visitor unnamed"), ("visitor ", "visitor visitor"), ("x" * 60, f"visitor {'x' * 52}"), ("x" * 61, "x" * 61),
    ("  ", "  "),
])  # fmt: skip
def test_the_name_of_a_visitor_says_so(sent, kept):
    visitor = Caller(PUBLIC, "address 8.8.8.8")
    assert visitor.annotator(sent) == kept
    if 0 < len(sent.strip()) <= 60:
        assert visitor.annotator(kept) == kept and len(kept) <= 60
    assert Caller(LABELER, "label key").annotator("Maria") == "Maria"


def test_the_longest_name_is_the_stores():
    assert people.LONGEST_NAME == judgements.LONGEST_NAME
