"""Who signed in with Hugging Face, which lists they stand on, and what is never believed."""

from __future__ import annotations

import pytest
from calls import assert_sentence

from labeling.keys import Keys
from labeling.people import LABELER, OWNER, PUBLIC, TRAINER, House
from labeling.signin import EVERYBODY, NEEDED, SignIn, User

SPACE = {"SYSTEM": "spaces", "SPACE_ID": "maria/studio", "SPACE_AUTHOR_NAME": "maria", **dict.fromkeys(NEEDED, "x")}
NOW = 1_800_000_000.0


def signed(name: object = "eve", **more: object) -> dict:
    """A session as Gradio keeps it of `name`."""
    info = {
        "access_token": "hf_oauth",
        "userinfo": {"preferred_username": name, "name": "Somebody", "orgs": more.pop("orgs", [])},
    }
    return {"oauth_info": {**info, "expires_at": NOW + 60, **more}}


def member(name: str, role: str = "read", **more: object) -> dict:
    return {"preferred_username": name, "roleInOrg": role, **more}


def role(environment: dict, session: dict) -> str | None:
    sign_in = SignIn.given_by(SPACE | environment)
    user = sign_in.user(session, NOW)
    return user and sign_in.role(user)


def test_the_owner_of_the_space_owns_it_and_everybody_who_signs_in_may_label():
    assert role({}, signed("maria")) == "own"
    assert role({}, signed("eve")) == "label"
    assert role({"SPACE_AUTHOR_NAME": ""}, signed("maria")) == "own", "the first half of the Space's name"


@pytest.mark.parametrize(
    ("name", "found"), [("ada", "own"), ("grace", "own"), ("tom", "train"), ("lea", "label"), ("eve", None), ("maria", None)]
)
def test_lists_say_who_may_do_what(name, found):
    lists = {"FER_OWNERS": "ada, grace", "FER_TRAINERS": "tom", "FER_LABELERS": "lea\nmax"}
    assert role(lists, signed(name)) == found


def test_names_are_compared_as_the_hub_spells_them():
    assert role({"FER_LABELERS": "Lea"}, signed("lea")) is None
    assert role({"FER_LABELERS": ""}, signed("lea")) is None, "an empty list names nobody"


@pytest.mark.parametrize(("orgs", "found"), [
    ([member("lab")], "train"), ([member("lab", "admin")], "train"), ([member("other")], None), ([], None),
    ([member("lab", pendingSSO=True)], None), ([member("lab", missingMFA=True)], None),
    ("lab", None), ([None, 3, {"preferred_username": 7}, {}], None), ({"preferred_username": "lab"}, None),
])  # fmt: skip
def test_an_organisation_on_a_list_stands_for_its_members(orgs, found):
    assert role({"FER_TRAINERS": "lab", "FER_LABELERS": ""}, signed("eve", orgs=orgs)) == found


@pytest.mark.parametrize(
    ("rank", "found"), [("admin", "own"), ("write", "own"), ("contributor", "label"), ("read", "label"), (None, "label")]
)
def test_a_space_of_an_organisation_is_owned_by_those_who_may_write_there(rank, found):
    assert role({"SPACE_AUTHOR_NAME": "lab"}, signed("eve", orgs=[member("lab", rank)])) == found


def test_nobody_hands_the_app_to_everybody():
    with pytest.raises(ValueError) as caught:
        SignIn.given_by(SPACE | {"FER_OWNERS": EVERYBODY})
    assert_sentence(str(caught.value))
    assert role({"FER_TRAINERS": EVERYBODY}, signed("eve")) == "train"


@pytest.mark.parametrize("lacking", ["SYSTEM", "SPACE_ID", *NEEDED])
def test_outside_of_a_space_with_sign_in_there_is_none(lacking):
    assert SignIn.given_by(SPACE | {lacking: ""}) is None
    assert SignIn.given_by({name: value for name, value in SPACE.items() if name != lacking}) is None


@pytest.mark.parametrize("session", [
    None, {}, [], "x", {"oauth_info": None}, {"oauth_info": "eve"}, {"oauth_info": {}}, {"oauth_info": {"userinfo": None}},
    signed(""), signed(None), signed(7), signed("a b"), signed("visitor eve"), signed("*"), signed("eve\n"), signed("x" * 61),
        signed("évе"),
    signed(expires_at=NOW - 1), signed(expires_at="soon"), signed(expires_at=[]), signed(expires_at=float("nan")),
])  # fmt: skip
def test_a_session_that_says_nothing_clear_names_nobody(session):
    assert SignIn.given_by(SPACE).user(session, NOW) is None


def test_a_session_without_an_end_lasts_as_long_as_its_cookie():
    assert SignIn().user(signed(expires_at=None), NOW) == User("eve")


KEYS = Keys.fresh()
HERE = {"host": "127.0.0.1:7860"}
FOREVER = signed("maria", expires_at=None)


@pytest.mark.parametrize("local", [True, False])
def test_elsewhere_a_session_gives_no_right_and_no_name(local):
    # Gradio's mocked sign-in signs its cookie with a secret that everybody knows.
    caller = House(local, KEYS).caller({**HERE, "x-forwarded-for": "8.8.8.8"}, "8.8.8.8", FOREVER)
    assert caller.rights == PUBLIC and caller.name is None and caller.is_visitor


def house(**lists: str) -> House:
    return House(False, KEYS, sign_in=SignIn.given_by({**SPACE, **lists}), proxies=1, inner=True)


def test_on_a_space_the_session_gives_name_and_rights():
    assert house().caller(HERE, "10.0.0.1", FOREVER).rights == OWNER
    eve = house().caller(HERE, "10.0.0.1", signed("eve", expires_at=None))
    assert (eve.rights, eve.name, eve.who) == (LABELER, "eve", "user eve")
    assert house(FER_TRAINERS="eve").caller(HERE, "10.0.0.1", signed("eve", expires_at=None)).rights == TRAINER
    nobody = house(FER_LABELERS="ada").caller(HERE, "10.0.0.1", signed("eve", expires_at=None))
    assert nobody.rights == PUBLIC and nobody.name == "eve" and not nobody.is_visitor


@pytest.mark.parametrize(
    "foreign",
    [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "https://evil.com"}, {"origin": "null"}],
)
def test_a_page_of_another_site_cannot_act_for_somebody_who_signed_in(foreign):
    caller = house().caller({**HERE, **foreign}, "10.0.0.1", FOREVER)
    assert caller.rights == PUBLIC and caller.name is None


def test_the_name_of_who_signed_in_is_the_annotator_whatever_is_sent():
    eve = house().caller(HERE, "10.0.0.1", signed("eve", expires_at=None))
    assert [eve.annotator(sent) for sent in ("maria", "", "x" * 100)] == ["eve"] * 3


def test_nobody_else_can_label_under_a_name_of_the_hub():
    visitor = house().caller(HERE, "10.0.0.1")
    guest = house().caller({**HERE, "authorization": f"Bearer {KEYS.label}"}, "10.0.0.1")
    assert visitor.annotator("maria") == "visitor maria" and guest.annotator("maria") == "guest maria"
    assert guest.rights == LABELER


def test_refusals_say_what_to_do():
    nobody, eve = house().caller(HERE, None), house().caller(HERE, None, signed("eve", expires_at=None))
    for right in OWNER - PUBLIC:
        for caller in (nobody, eve):
            assert_sentence(house().refusal(right, caller))
    assert "Sign in" in house().refusal("label", nobody) and "Sign in" not in house().refusal("own", eve)
