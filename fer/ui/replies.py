"""How functions of a page and of the API answer when something is wrong: one sentence, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps

import gradio as gr

FAULT = "That could not be done because of a fault in the app; its log says more."
log = logging.getLogger(__name__)


def said(work: Callable[[], dict]) -> dict:
    """What `work` answers, or {error: one sentence}."""
    try:
        return work()
    except ValueError as error:
        return {"error": sentence(error)}
    except Exception:
        log.exception("answering the page failed")
        return {"error": FAULT}


def api_call(fn: Callable) -> Callable:
    """`fn` for the API: what is wrong comes as gr.Error, one sentence."""

    @wraps(fn)
    def called(*values: object) -> object:
        try:
            return fn(*values)
        except ValueError as error:
            raise gr.Error(sentence(error), print_exception=False) from error
        except Exception as error:
            log.exception("an endpoint failed")
            raise gr.Error(FAULT) from error

    return called


def sentence(error: Exception) -> str:
    """The message of `error` with a capital and a period: the command line begins its errors in the middle of a line.

    What begins with the name of a file keeps it as it is.
    """
    text = str(error).strip()
    begin = text.partition(" ")[0].rstrip(".,:;!?")
    return (text[:1].upper() + text[1:] if begin.isalpha() else text) + ("" if text.endswith((".", "!", "?")) else ".")
