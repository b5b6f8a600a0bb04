"""A sandbox that is watched: which workers were started, and how many there are at once."""

from __future__ import annotations

import threading
from typing import Any

from langchain_replm.sandbox.process import ProcessSandbox


class Watched:
    """A sandbox that remembers its workers."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.open_now: set[int] = set()
        self.peak = 0
        self._lock = threading.Lock()
        outer = self

        class Counting(ProcessSandbox):
            def open(self) -> Any:
                transport = super().open()
                with outer._lock:
                    number = len(outer.started)
                    outer.started.append(transport)
                    outer.open_now.add(number)
                    outer.peak = max(outer.peak, len(outer.open_now))
                close = transport.close

                def closing() -> None:
                    close()
                    outer.open_now.discard(number)

                transport.close = closing
                return transport

        self.sandbox = Counting()
