"""The one way in: every endpoint and every function of a page is registered here, with the right it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from labeling.people import REFUSALS, House, Right

if TYPE_CHECKING:
    import gradio as gr

MOST_AT_ONCE = 40  # handlers of one endpoint; what is heavy in them takes turns


class Gate:
    """Asks each caller for the right that `rights`, the table by name, sets; `house` knows who has which."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.rights: dict[str, Right] = {}

    def endpoint(
        self, name: str, right: Right, fn: Callable, inputs: Sequence["gr.components.Component"],
        outputs: Sequence["gr.components.Component"],
    ) -> None:  # fmt: skip
        """Register `fn` as ``/name`` of the API, for people who have `right`; it raises gr.Error for others."""
        import gradio as gr  # by now the page is being built; `import app` alone does without

        def refuse(sentence: str) -> None:
            raise gr.Error(sentence, print_exception=False)

        self.rights[name] = right
        trigger = gr.Button(visible=False)
        trigger.click(
            self._guarded(right, fn, refuse), list(inputs), list(outputs), api_name=name,
            concurrency_limit=MOST_AT_ONCE,
        )  # fmt: skip

    def function(self, name: str, right: Right, fn: Callable[[dict], dict]) -> Callable:
        """`fn`, which a page calls as its server function, for people who have `right`.

        Others are answered {error: sentence, refused: true}. It stands in the table as `name`, dot, its own name.
        """
        self.rights[f"{name}.{fn.__name__}"] = right
        guarded = self._guarded(right, fn, lambda sentence: {"error": sentence, "refused": True})
        guarded.__name__ = fn.__name__
        return guarded

    def _guarded(self, right: Right, fn: Callable, refuse: Callable[[str], object]) -> Callable:
        import gradio as gr

        def guarded(request, *values):
            if right not in self.rights_of(request):
                return refuse(REFUSALS[right])
            return fn(*values)

        # Gradio finds by its annotation which argument is the request, and names the others for the API's users.
        guarded.__annotations__ = {"request": gr.Request}
        asked = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
        others = [one.replace(annotation=inspect.Parameter.empty) for one in inspect.signature(fn).parameters.values()]
        guarded.__signature__ = inspect.Signature([asked, *others])
        return guarded

    def rights_of(self, request: "gr.Request") -> frozenset[Right]:
        """What the sender of `request` may do."""
        client = request.client.host if request.client else None
        return self.house.rights({name.lower(): value for name, value in request.headers.items()}, client)
