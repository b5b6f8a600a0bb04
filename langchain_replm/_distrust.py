"""A checkpointer that builds no objects, and says clearly when what it reads is damaged."""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from functools import cache as once
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, NoReturn

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from langchain_replm._channels import GO_ON_FROM
from langchain_replm.errors import RLMError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from langgraph.types import Checkpointer

OUR_ROWS = "replm_"
"""How the namespaces begin in which journal and contexts are kept beside the checkpoints."""

_MISREAD = (JSONDecodeError, UnicodeDecodeError, TypeError, KeyError, IndexError, AttributeError)
"""What readers raise about bytes of another shape; a database that is not there raises others."""


def distrustful(checkpointer: Checkpointer) -> Checkpointer:
    """The checkpointer, with a serializer that rebuilds safe types only, and readers that check.

    As it comes, LangGraph's serializer rebuilds objects of any class that can be imported, so
    whoever can write to the database could call what they like. Our state is JSON data and needs
    none.
    """
    if not isinstance(checkpointer, BaseCheckpointSaver):
        return checkpointer
    twin = copy(checkpointer)  # it shares connections and locks; the caller's own stays as it is
    twin.__class__ = _checking(type(checkpointer))  # type: ignore[arg-type]  # it has a hash
    if type(checkpointer.serde) is JsonPlusSerializer:  # else somebody has chosen it
        twin.serde = _SafeSerializer(allowed_msgpack_modules=None)
    return twin


class _SafeSerializer(JsonPlusSerializer):
    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        try:
            return super().loads_typed(data)
        except Exception as error:  # noqa: BLE001 - whatever a decoder says about foreign bytes
            _refuse(f"a value of type {data[0]!r} cannot be decoded", error)


@once
def _checking(kind: type[BaseCheckpointSaver[Any]]) -> type[BaseCheckpointSaver[Any]]:
    """A checkpointer class whose readers check what they give."""

    class Checking(kind):  # type: ignore[misc, valid-type]
        def get_tuple(self, config: Any) -> Any:
            with _explained():
                return _checked(super().get_tuple(config))

        async def aget_tuple(self, config: Any) -> Any:
            with _explained():
                return _checked(await super().aget_tuple(config))

        def list(self, *given: Any, **options: Any) -> Iterator[Any]:
            with _explained():
                for found in super().list(*given, **options):
                    yield _checked(found)

        async def alist(self, *given: Any, **options: Any) -> AsyncIterator[Any]:
            with _explained():
                async for found in super().alist(*given, **options):
                    yield _checked(found)

    Checking.__name__, Checking.__qualname__ = kind.__name__, kind.__qualname__
    Checking.__module__ = kind.__module__
    return Checking


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _MISREAD as error:
        _refuse("it is no checkpoint", error)


def _checked(found: Any) -> Any:
    """What a checkpointer has read, if it is a checkpoint.

    Raises:
        RLMError: It is something else.
    """
    if found is None:
        return None
    step = (found.metadata or {}).get("step")
    namespace = found.config["configurable"].get("checkpoint_ns") or ""
    if not isinstance(step, int) and not namespace.startswith(OUR_ROWS):
        _refuse(f"its metadata has the step {step!r}")
    try:
        _CHECKPOINT.validate_python(found.checkpoint)
    except ValidationError as error:
        _refuse("it is no checkpoint", error)
    return found


def _refuse(what: str, error: Exception | None = None) -> NoReturn:
    why = f": {type(error).__name__}: {error}" if error is not None else ""
    msg = f"A checkpoint is damaged or was written by another program; {what}{why}. {GO_ON_FROM}"
    raise RLMError(msg) from error


Version = int | float | str


class _Checkpoint(TypedDict):
    v: int
    id: str
    channel_values: dict[str, Any]
    channel_versions: dict[str, Version]
    versions_seen: dict[str, dict[str, Version]]


_CHECKPOINT = TypeAdapter(_Checkpoint)
