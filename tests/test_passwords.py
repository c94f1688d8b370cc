"""Passwords and the tokens that stand for them: what opens, what does not, and what a restart or a change does."""

from __future__ import annotations

import pytest
from calls import assert_sentence

from labeling.keys import Keys
from labeling.passwords import KEPT_SECONDS, Passwords

BOTH = Passwords(label="come in and label", own="the owner's own")
KEYS = Keys.fresh()
NOW = 1_800_000_000.0


@pytest.mark.parametrize(("given", "door"), [
    ("come in and label", "label"), ("the owner's own", "own"), ("", None), (" the owner's own", None), ("the owner's own ",
    None),
    ("THE OWNER'S OWN", None), ("the owner's ow", None), ("\ud800", None), ("ü" * 5000, None), ("the owner's own\0", None),
])  # fmt: skip
def test_a_password_opens_its_own_door_alone(given, door):
    assert BOTH.opens(given) == door


@pytest.mark.parametrize("none", [Passwords(), Passwords(own=""), Passwords(label="", own="")])
def test_where_no_password_is_set_nothing_is_one(none):
    assert not none and none.opens("") is None and none.opens("None") is None
    assert Passwords(own="x").opens("") is None
    words, _, _ = BOTH.token("own", KEYS, NOW).rpartition(".")
    assert none.role_of(f"{words}.{none._signature(words, 'own', KEYS)}", KEYS, NOW) is None


def test_two_doors_with_one_password_are_refused():
    with pytest.raises(ValueError) as caught:
        Passwords.given_by({"FER_OWNER_PASSWORD": "same", "FER_LABELER_PASSWORD": "same"})
    assert_sentence(str(caught.value))
    assert "same" not in str(caught.value).split("are the same")[0]


def test_they_come_from_the_environment_and_are_not_shown():
    given = Passwords.given_by({"FER_OWNER_PASSWORD": "secret one\n", "FER_LABELER_PASSWORD": "short"})
    assert (given.own, given.label) == ("secret one", "short") and given.short == ["FER_LABELER_PASSWORD"]
    assert "secret" not in repr(given) and "short" not in repr(given)


@pytest.mark.parametrize("role", ["label", "own"])
def test_a_token_stands_for_its_door_and_holds_no_password(role):
    token = BOTH.token(role, KEYS, NOW)
    assert BOTH.role_of(token, KEYS, NOW) == role
    assert token != BOTH.token(role, KEYS, NOW) and getattr(BOTH, role) not in token and KEYS.own not in token
    assert set(token) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."), (
        "it goes into a cookie as it is"
    )


def test_a_token_is_worth_nothing_once_it_is_old_or_anything_is_another():
    token = BOTH.token("own", KEYS, NOW)
    assert BOTH.role_of(token, KEYS, NOW + KEPT_SECONDS - 1) == "own"
    assert BOTH.role_of(token, KEYS, NOW + KEPT_SECONDS + 1) is None
    assert BOTH.role_of(token, Keys.fresh(), NOW) is None
    assert Passwords(label=BOTH.label, own="a new one").role_of(token, KEYS, NOW) is None
    assert Passwords(label=BOTH.label).role_of(token, KEYS, NOW) is None
    assert Passwords(label="a new one", own=BOTH.own).role_of(token, KEYS, NOW) == "own", "the other password changed"


def changed(token: str, place: int, value: str) -> str:
    parts = token.split(".")
    parts[place] = value
    return ".".join(parts)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, "s2"), (1, "own"), (1, "train"), (1, ""), (2, "9999999999"), (2, "x"), (3, "AAAA"), (4, ""), (4, "0" * 64)],
)
def test_a_token_that_somebody_changed_opens_nothing(place, value):
    token = BOTH.token("label", KEYS, NOW)
    assert BOTH.role_of(changed(token, place, value), KEYS, NOW) is None


@pytest.mark.parametrize(
    "token", ["", ".", "....", "s1.own", "s1.own.1.x.", "s1.own.9999999999.x.y", "schlüssel", "s1.own.9999999999..", "\0"]
)
def test_what_is_no_token_opens_nothing(token):
    assert BOTH.role_of(token, KEYS, NOW) is None
