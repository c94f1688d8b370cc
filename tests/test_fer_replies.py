"""Answers of the tabs about faces and models when something is wrong: one sentence, never a traceback."""

from __future__ import annotations

import inspect
import logging

import gradio as gr
import pytest
from calls import assert_sentence

from fer.datasets import DataError
from fer.runs import RunError
from fer.ui.replies import FAULT, api_call, said, sentence


def raising(error: BaseException):
    def work(*values: object) -> dict:
        raise error

    return work


def test_what_was_done_is_answered_as_it_is():
    assert said(lambda: {"faces": 3}) == {"faces": 3}
    assert api_call(lambda one, other: one + other)(1, 2) == 3


@pytest.mark.parametrize(("error", "words"), [
    (RunError("A run is under way; wait until it ends."), "A run is under way; wait until it ends."),
    (DataError("faces of the snapshot 0123 were withdrawn; take a new snapshot"), "Faces of the snapshot 0123 were withdrawn; take a new snapshot."),
    (KeyError("/home/ada/secret"), FAULT), (RuntimeError("/home/ada/secret is odd"), FAULT),
])  # fmt: skip
def test_whatever_goes_wrong_is_one_sentence(error, words, caplog):
    with caplog.at_level(logging.ERROR):
        assert said(raising(error)) == {"error": words}
        with pytest.raises(gr.Error) as caught:
            api_call(raising(error))("value")
    assert caught.value.message == words and caught.value.__cause__ is error
    assert_sentence(words.replace("fault in the app", ""))
    assert ("secret" in caplog.text) == (words == FAULT), "the log knows what the page is not told"


@pytest.mark.parametrize("words", ["", "a", "a.", "is it?", "¡so!", "„x“ is not there", "labels.db is damaged", "/a/b is missing"])
def test_a_sentence_begins_large_but_for_names_of_files_and_ends(words):
    made = sentence(ValueError(words))
    assert (made[:1] == made[:1].upper()) != words.startswith("labels.db") and made[-1] in ".?!"
    assert made.lower().startswith(words.lower()) and sentence(ValueError(made)) == made


def test_a_stop_from_the_keyboard_is_let_through():
    for wrapped in (lambda: said(raising(KeyboardInterrupt())), api_call(raising(KeyboardInterrupt()))):
        with pytest.raises(KeyboardInterrupt):
            wrapped()


def test_the_api_keeps_the_names_of_the_values():
    def compare(version: str, other: str) -> dict:
        """Words for the API's page."""

    wrapped = api_call(compare)
    assert list(inspect.signature(wrapped).parameters) == ["version", "other"] and wrapped.__doc__ == compare.__doc__
