"""The cell level: a run for each cell, and below it the calls that the cell makes.

Driven by the events of the run, so that a trace and a listener cannot see different things. The
calls find their parent in the ambient config, as everywhere in LangChain; it is set in the copy of
the context variables in which a call is made, so threads and tasks nest rightly.
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import ensure_config, patch_config, set_config_context

from langchain_replm._traces.calls import annotate, as_manager
from langchain_replm._tracing import call_config, cell_metadata, cell_name

if TYPE_CHECKING:
    from contextvars import Context

    from langchain_replm._traces.calls import Calls
    from langchain_replm.events import RLMEvent


class CellTrace:
    """The cells of one node as a trace shows them, and the context in which their calls are made.

    Driven by the events of the run, so that a trace and a listener can see nothing different.
    """

    def __init__(self) -> None:
        ambient = ensure_config().get("callbacks")
        heard = isinstance(ambient, BaseCallbackManager) and ambient.handlers
        self._node: Any = ambient if heard else None
        self._run: Any = None
        self._context: Context | None = None
        self.cell: int | None = None

    def context(self) -> Context:
        """A copy of the context variables for one call; below the cell, if one is open."""
        return copy_context() if self._context is None else self._context.run(copy_context)

    def hear(self, event: RLMEvent) -> Calls:
        """Open, fill and close the run of a cell."""
        if event.type == "cell_start":
            self.cell = event.detail["cell"]
            if self._node is not None:
                yield from self._open(event)
        elif self._run is None:
            return
        elif event.type == "sub_call_cache_hit":
            yield from self._add_answered(event, "cached")
        elif event.type == "sub_call_end" and event.detail["recorded"]:
            yield from self._add_answered(event, "recorded")
        elif event.type == "cell_end":
            run, self._run, self._context = self._run, None, None
            annotate(run.handlers, run.run_id, cell_metadata(event))
            shown = {name: event.detail[name] for name in ("status", "output", "error")}
            yield partial(run.on_chain_end, shown)

    def _open(self, event: RLMEvent) -> Calls:
        manager = as_manager(type(self._node), self._node)
        manager.add_tags(["rlm:cell"], inherit=False)
        manager.add_metadata(cell_metadata(event), inherit=False)
        inputs = {"code": event.detail["code"]}
        self._run = yield partial(manager.on_chain_start, None, inputs, name=cell_name(event))
        config = patch_config(ensure_config(), callbacks=self._run.get_child())
        with set_config_context(config) as context:
            self._context = context.run(copy_context)

    def _add_answered(self, event: RLMEvent, by: str) -> Calls:
        """Cache and journal answer without a call, so without a run; it could not be seen."""
        kind = event.detail["kind"]
        labels = call_config(
            kind,
            iteration=event.iteration,
            depth=event.depth,
            cell=self.cell,
            prompt_chars=event.detail["prompt_chars"],
        )
        manager = self._run.get_child()
        manager.add_tags([*labels["tags"], f"rlm:{by}"])
        manager.add_metadata({**labels["metadata"], f"rlm_{by}": True})
        inputs = {"prompt": event.detail["prompt"]}
        name = event.detail["tool"] or kind
        hit = yield partial(manager.on_chain_start, None, inputs, name=name)
        yield partial(hit.on_chain_end, {"response": event.preview})

    def close(self) -> Calls:
        """A cell that is still open was cut short."""
        run, self._run, self._context = self._run, None, None
        if run is not None:
            yield partial(run.on_chain_error, sys.exception() or RuntimeError("cut short"))
