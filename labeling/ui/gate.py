"""The one way in: every endpoint and every function of a page is registered here, with the right it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from labeling.limits import HEAVY, USED_BY, Flights, LimitReached, Limits
from labeling.people import Caller, House, Right

if TYPE_CHECKING:
    import gradio as gr

MOST_AT_ONCE = 40  # handlers of one endpoint; what is heavy in them takes turns
NAMES = ("annotator", "who")  # what functions call the person on whose word they act
PAYLOAD = "payload"  # and what pages send, all in one
_speaker: ContextVar[Caller | None] = ContextVar("speaker", default=None)


class Gate:
    """Asks each caller for the right that `rights`, the table by name, sets; `house` knows who has which.

    Whoever signed in is who they signed in as, whatever the page sends; and nobody has more than `limits` allow.
    """

    def __init__(self, house: House, limits: Limits | None = None) -> None:
        self.house = house
        self.limits = limits or Limits()
        self.flights = Flights()
        self.rights: dict[str, Right] = {}

    def endpoint(
        self, name: str, right: Right, fn: Callable, inputs: Sequence["gr.components.Component"],
        outputs: Sequence["gr.components.Component"],
    ) -> None:  # fmt: skip
        """Register `fn` as ``/name`` of the API, for people who have `right`; it raises gr.Error for others."""
        import gradio as gr  # by now the page is being built; `import app` alone does without

        def refuse(sentence: str, **more: object) -> None:
            raise gr.Error(sentence, print_exception=False)

        self.rights[name] = right
        trigger = gr.Button(visible=False)
        trigger.click(
            self._guarded(name, right, fn, refuse), list(inputs), list(outputs), api_name=name,
            concurrency_limit=MOST_AT_ONCE,
        )  # fmt: skip

    def function(self, name: str, right: Right, fn: Callable[[dict], dict]) -> Callable:
        """`fn`, which a page calls as its server function, for people who have `right`.

        Others are answered {error: sentence, refused: true}, and those who ask too often {error: sentence, wait: seconds}.
        It stands in the table as `name`, dot, its own name.
        """
        known_as = f"{name}.{fn.__name__}"
        self.rights[known_as] = right
        guarded = self._guarded(known_as, right, fn, lambda sentence, **more: {"error": sentence, **more})
        guarded.__name__ = fn.__name__
        return guarded

    def speaker(self) -> Caller | None:
        """Whose call is being answered by this thread; None where it is the app's own work."""
        return _speaker.get()

    def whose(self) -> str | None:
        """The visitor whose call is being answered by this thread."""
        caller = _speaker.get()
        return None if caller is None else caller.who

    def _guarded(self, name: str, right: Right, fn: Callable, refuse: Callable[..., object]) -> Callable:
        import gradio as gr

        given = inspect.signature(fn).parameters

        def guarded(request, *values):
            caller = self.caller(request)
            if right not in caller.rights:
                return refuse(self.house.refusal(right, caller), refused=True)
            with ExitStack() as held:
                try:
                    held.enter_context(self._within_limits(name, caller))
                except LimitReached as error:
                    return refuse(str(error), wait=error.seconds)
                held.enter_context(_speaking(caller))
                return fn(*_named(caller, tuple(given), values))

        # Gradio finds by its annotation which argument is the request, and names the others for the API's users.
        guarded.__annotations__ = {"request": gr.Request}
        asked = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
        others = [one.replace(annotation=inspect.Parameter.empty) for one in given.values()]
        guarded.__signature__ = inspect.Signature([asked, *others])
        return guarded

    @contextmanager
    def _within_limits(self, name: str, caller: Caller) -> Iterator[None]:
        """Count a call of `name`. Raises LimitReached where `caller` has had enough."""
        with ExitStack() as held:
            if caller.limited:
                if name in HEAVY:
                    held.enter_context(self.flights.one(caller.who))
                if name in USED_BY:
                    self.limits.take(USED_BY[name], caller.who)
            yield

    def caller_of(self, scope: Mapping) -> Caller:
        """Who sends the request with the ASGI `scope`."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        client = scope["client"][0] if scope.get("client") else None
        return self.house.caller(joined(headers), client, scope.get("session"))

    def caller(self, request: "gr.Request") -> Caller:
        """Who sends `request`, and what they may do."""
        client = request.client.host if request.client else None
        # Server functions are handed the request itself, endpoints a wrapper with a session of Gradio's own.
        below = getattr(request, "request", None) or request
        session = getattr(below, "scope", {}).get("session")
        return self.house.caller(joined(request.headers.items()), client, session)


def joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """`headers` by lower-case name; what comes in several lines is joined, as proxies do."""
    found: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        found[name] = f"{found[name]}{'; ' if name == 'cookie' else ', '}{value}" if name in found else value
    return found


@contextmanager
def _speaking(caller: Caller) -> Iterator[None]:
    """While the block runs, this thread answers `caller`."""
    token = _speaker.set(caller)
    try:
        yield
    finally:
        _speaker.reset(token)


def _named(caller: Caller, parameters: Sequence[str], values: tuple) -> tuple:
    """`values` for the parameters of a function, with the caller's name where they hold one."""
    return tuple(
        _name(caller, value) if parameter in NAMES
        else _named_payload(caller, value) if parameter == PAYLOAD and isinstance(value, dict) else value
        for parameter, value in zip(parameters, values, strict=False)
    )  # fmt: skip


def _named_payload(caller: Caller, payload: dict) -> dict:
    """What a page sent, with the caller's name where it holds one; of who signed in always."""
    names = {name: _name(caller, payload[name]) for name in NAMES if name in payload}
    return {**payload, **names, **(dict.fromkeys(NAMES, caller.name) if caller.name else {})}


def _name(caller: Caller, sent: object) -> str:
    """The name that counts, whatever was sent as one: what is no text would be turned into text further on, as it is."""
    return caller.annotator("" if sent is None else str(sent))
