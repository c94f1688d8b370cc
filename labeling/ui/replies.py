"""How the functions of a page and of the API answer when something is wrong: one sentence, never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps

import gradio as gr

from labeling.database import StoreError
from labeling.items import UnknownItem

log = logging.getLogger(__name__)


def said(work: Callable[[], dict]) -> dict:
    """What `work` answers, or {error: one sentence}; {final: true} where the same again would not help."""
    try:
        return work()
    except StoreError as error:
        return {"error": str(error), "final": isinstance(error, UnknownItem)}
    except (ValueError, KeyError, TypeError) as error:
        return {"error": str(error) if isinstance(error, ValueError) else "The page sent too little; reload it.", "final": True}
    except Exception:
        log.exception("answering the page failed")
        return {"error": "That could not be done because of a fault in the app; its log says more.", "final": True}


def api_call(fn: Callable) -> Callable:
    """`fn` for the API: what is wrong comes as gr.Error, one sentence."""

    @wraps(fn)
    def called(*values: object) -> object:
        try:
            return fn(*values)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            log.exception("an endpoint failed")
            raise gr.Error("That could not be done because of a fault in the app; its log says more.") from error

    return called
