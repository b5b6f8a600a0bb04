"""What can go wrong that the root model cannot repair.

```
RLMError
├── ConfigurationError(ValueError)   before anything runs
├── LimitExceededError               .limit .used .partial; only with `exit_behavior="error"`
├── AnswerValidationError            .partial; `response_format` was not met; only with "error" too
├── RunStoppedError                  inside of a run that was stopped from outside
├── ContextNotFoundError             a context handle whose text is gone from its store
└── SandboxError                     the machine, not the code
    └── ProtocolError                the worker's bytes break the wire protocol
```

A cell that raises, a cell that runs out of time and a sub-call that fails are not here: they are
values that the root model reads and repairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_replm.types import RLMResponse


class RLMError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(RLMError, ValueError):
    """A parameter or an input is wrong. Raised before any model is called."""


class LimitExceededError(RLMError):
    """A run met one of its limits and `exit_behavior="error"` asked for an exception.

    Attributes:
        limit: Name of the limit, as in `RLMResponse.stop_reason`.
        used: How much of it was used when the run ended.
        partial: Everything the run had learned until then.
    """

    def __init__(self, limit: str, *, used: float, partial: RLMResponse) -> None:
        self.limit = limit
        self.used = used
        self.partial = partial
        super().__init__(
            f"The run met its limit {limit!r} (used: {used:g}) without an answer. "
            "Raise the limit in RLMConfig, or read `.partial` for what was found so far."
        )


class AnswerValidationError(RLMError):
    """A run ended without an answer that fits `response_format`.

    Raised only with `exit_behavior="error"`; with `"end"` the response has the answer as text and
    `structured_response=None`.

    Attributes:
        problem: What was wrong with the last answer that was submitted, one line per problem.
        partial: Everything the run had learned until then.
    """

    def __init__(self, problem: str, *, partial: RLMResponse) -> None:
        self.problem = problem
        self.partial = partial
        super().__init__(
            f"The run ended ({partial.stop_reason}) without an answer that fits response_format. "
            f"The last one had these problems:\n{problem}\n"
            "Raise max_iterations, loosen the format, or read `.partial`."
        )


class RunStoppedError(RLMError):
    """The run was stopped from outside: cancelled, interrupted, or nobody reads its stream."""

    def __init__(self) -> None:
        super().__init__("The run was stopped.")


class ContextNotFoundError(RLMError, LookupError):
    """A context handle names a text that its store no longer has."""


class SandboxError(RLMError):
    """The place where cells run failed: it did not start, died repeatedly, or broke the wire."""


class ProtocolError(SandboxError):
    """The worker sent bytes that the wire protocol does not allow at this point."""
