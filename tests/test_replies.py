"""Answers of a page's functions and of the API when something is wrong: one sentence, never a traceback."""

from __future__ import annotations

import inspect
import logging

import gradio as gr
import pytest
from calls import assert_sentence

from labeling.database import StoreError
from labeling.items import UnknownItem
from labeling.ui.replies import api_call, said

FAULT = "That could not be done because of a fault in the app; its log says more."


def raising(error: BaseException):
    def work(*values: object) -> dict:
        raise error

    return work


def test_what_was_done_is_answered_as_it_is():
    assert said(lambda: {"faces": 3}) == {"faces": 3}
    assert api_call(lambda one, other: one + other)(1, 2) == 3


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (StoreError("The disk is full."), {"error": "The disk is full.", "final": False}),
        (UnknownItem("There is no face 3."), {"error": "There is no face 3.", "final": True}),
        (ValueError("“x” is not a label."), {"error": "“x” is not a label.", "final": True}),
        (KeyError("item"), {"error": "The page sent too little; reload it.", "final": True}),
        (TypeError("int() argument must be"), {"error": "The page sent too little; reload it.", "final": True}),
        (RuntimeError("/home/ada/secret is odd"), {"error": FAULT, "final": True}),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_one_sentence_for_the_page(error, answer, caplog):
    with caplog.at_level(logging.ERROR):
        assert said(raising(error)) == answer
    assert_sentence(answer["error"].replace("fault in the app", ""))
    assert ("secret" in caplog.text) == (type(error) is RuntimeError), "the log knows what the page is not told"


@pytest.mark.parametrize("error", [StoreError("The disk is full."), ValueError("“x” is not a label.")])
def test_the_api_raises_the_same_sentence_for_the_client_alone(error):
    with pytest.raises(gr.Error) as caught:
        api_call(raising(error))("value")
    assert caught.value.message == str(error) and caught.value.print_exception is False and caught.value.__cause__ is error


def test_a_fault_in_the_api_is_logged_and_not_told(caplog):
    with pytest.raises(gr.Error) as caught, caplog.at_level(logging.ERROR):
        api_call(raising(KeyError("/home/ada/secret")))()
    assert caught.value.message == FAULT and "secret" in caplog.text


def test_a_stop_from_the_keyboard_is_let_through():
    for wrapped in (lambda: said(raising(KeyboardInterrupt())), api_call(raising(KeyboardInterrupt()))):
        with pytest.raises(KeyboardInterrupt):
            wrapped()


def test_the_api_keeps_the_names_of_the_values():
    def withdraw(code: str) -> dict:
        """Words for the API's page."""

    assert list(inspect.signature(api_call(withdraw)).parameters) == ["code"] and api_call(withdraw).__doc__ == withdraw.__doc__
