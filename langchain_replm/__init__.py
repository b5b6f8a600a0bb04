"""Recursive Language Models for LangChain and LangGraph.

Names are imported when they are first used: `import langchain_replm` loads neither LangGraph nor
any model provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_replm._lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_replm._compiled import RLMGraph
    from langchain_replm._context_chunks import DirectoryContextStore
    from langchain_replm.chat_model import RLMChatModel
    from langchain_replm.config import ModelPrice, RLMConfig
    from langchain_replm.context_store import ContextStore, MemoryContextStore
    from langchain_replm.errors import (
        AnswerValidationError,
        ConfigurationError,
        ContextNotFoundError,
        LimitExceededError,
        RLMError,
        SandboxError,
    )
    from langchain_replm.events import RLMEvent, StreamChunk
    from langchain_replm.extractive import ExtractiveChatModel
    from langchain_replm.graph import build_rlm_graph, create_rlm_graph
    from langchain_replm.journal import Journal, MemoryJournal, SqliteJournal
    from langchain_replm.runnable import RLM
    from langchain_replm.state import RLMInput
    from langchain_replm.trajectory_file import TrajectoryFile, read_trajectories
    from langchain_replm.types import HistoryEntry, RLMResponse

__version__ = "0.1.0"

_HOMES = {
    "ModelPrice": "config",
    "RLM": "runnable",
    "RLMChatModel": "chat_model",
    "RLMConfig": "config",
    "RLMEvent": "events",
    "RLMGraph": "_compiled",
    "RLMInput": "state",
    "RLMResponse": "types",
    "AnswerValidationError": "errors",
    "ConfigurationError": "errors",
    "ContextNotFoundError": "errors",
    "ContextStore": "context_store",
    "DirectoryContextStore": "_context_chunks",
    "ExtractiveChatModel": "extractive",
    "HistoryEntry": "types",
    "Journal": "journal",
    "LimitExceededError": "errors",
    "MemoryContextStore": "context_store",
    "MemoryJournal": "journal",
    "RLMError": "errors",
    "SandboxError": "errors",
    "SqliteJournal": "journal",
    "StreamChunk": "events",
    "TrajectoryFile": "trajectory_file",
    "build_rlm_graph": "graph",
    "create_rlm_graph": "graph",
    "read_trajectories": "trajectory_file",
}

__all__ = [
    "RLM",
    "AnswerValidationError",
    "ConfigurationError",
    "ContextNotFoundError",
    "ContextStore",
    "DirectoryContextStore",
    "ExtractiveChatModel",
    "HistoryEntry",
    "Journal",
    "LimitExceededError",
    "MemoryContextStore",
    "MemoryJournal",
    "ModelPrice",
    "RLMChatModel",
    "RLMConfig",
    "RLMError",
    "RLMEvent",
    "RLMGraph",
    "RLMInput",
    "RLMResponse",
    "SandboxError",
    "SqliteJournal",
    "StreamChunk",
    "TrajectoryFile",
    "build_rlm_graph",
    "create_rlm_graph",
    "read_trajectories",
]

__getattr__: Callable[[str], Any]
__dir__: Callable[[], list[str]]
__getattr__, __dir__ = lazy(__name__, _HOMES)
