"""From what a user has at hand to a chat model: a raw OpenAI client, or the name of a model.

Both functions are called while an `RLM` is built, so a wrong argument is a `ConfigurationError`
before anything runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from langchain_replm.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import openai
    from langchain_openai import ChatOpenAI

_ALLOWED = "a LangChain chat model (any `BaseChatModel`), or a name such as 'openai:gpt-5-mini'"


def chat_model_from_client(client: openai.OpenAI | openai.AsyncOpenAI, model: str) -> ChatOpenAI:
    """Make a chat model that talks through a raw OpenAI SDK client.

    In the colour of the given client (sync for `OpenAI`, async for `AsyncOpenAI`) every request
    goes through that very object, so all of its settings hold: address, key, organization, project,
    timeout, retries, default headers and query, and its HTTP client with the proxies, transports
    and connection pool. The client stays the caller's: it is never closed here.

    In the other colour a twin with the same settings does it, built at the first call. One thing
    cannot be carried over: an `http_client` that was passed to the given client, because it belongs
    to one colour. The twin uses the default of the SDK instead. When proxies or certificates live
    in a custom `http_client` and both colours are needed, build
    `ChatOpenAI(http_client=..., http_async_client=...)` instead and pass that as the model.

    There is no twin, and a call in the other colour raises `ConfigurationError`, when the key comes
    from an async function (a sync call cannot await it), or when the client logs in by a workload
    identity, by a provider or as a Bedrock client.

    A twin lives as long as the model (an async one: as its event loop), and nobody closes it; who
    cares closes `model.root_client` or `model.root_async_client`. An `AsyncOpenAI` that is given
    belongs to the event loop of its first call, here as everywhere.

    The requests are Chat Completions, because every OpenAI-compatible server knows them, and a
    streamed answer asks for its usage, so that streamed runs count the same tokens as others.

    Args:
        client: `openai.OpenAI`, `openai.AsyncOpenAI`, or their Azure classes.
        model: Name of the model (for Azure: of the deployment).

    Returns:
        A model for `RLM(root_model=...)` or for any other place that takes a chat model.

    Raises:
        ConfigurationError: `client` is not such a client, or `model` is not a name.

    Example:
        ```python
        import openai
        from langchain_replm._models import chat_model_from_client

        client = openai.OpenAI(api_key="not-used-here", base_url="http://localhost:1234/v1")
        model = chat_model_from_client(client, "qwen3-8b")
        assert model.root_client is client
        assert model.model_name == "qwen3-8b"
        ```
    """
    import openai  # noqa: PLC0415 - slow to import, and only this function needs it
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - as above

    if not isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        raise ConfigurationError(_not_a_client(client))
    if not isinstance(model, str) or not model.strip():
        got = "an empty one" if isinstance(model, str) else _type_name(model)
        msg = f"The name of the model must be a non-empty string such as 'gpt-5-mini', got {got}."
        raise ConfigurationError(msg)

    settings: dict[str, Any] = {}
    if "stream_chunk_timeout" in ChatOpenAI.model_fields:
        # LangChain's own limit of 120 seconds between two chunks holds only in the async colour.
        # The timeout of the given client is what its owner chose, and it holds in both.
        settings["stream_chunk_timeout"] = None
    is_async = isinstance(client, openai.AsyncOpenAI)
    twins = _Twins(client, per_loop=not is_async)
    twin = _StandIn(twins.get)
    twin_chat = _StandIn(lambda: twins.get().chat.completions)
    given_chat = client.chat.completions
    return ChatOpenAI(
        model=model,
        root_client=twin if is_async else client,
        client=twin_chat if is_async else given_chat,
        root_async_client=client if is_async else twin,
        async_client=given_chat if is_async else twin_chat,
        # The clients decide about these; here they are for whoever looks at the model. Not the key
        # and not the headers: fields of a model are shown in traces.
        base_url=str(client.base_url),
        organization=client.organization,
        max_retries=client.max_retries,
        timeout=client.timeout,
        stream_usage=True,
        use_responses_api=False,
        **settings,
    )


def resolve_chat_model(model: BaseChatModel | str, *, role: str) -> BaseChatModel:
    """Return the chat model that a user meant.

    Args:
        model: A chat model, returned as it is; or a name, which goes to
            `langchain.chat_models.init_chat_model` (`pip install "langchain-replm[models]"`).
        role: Name of the parameter, for the messages of errors: `"root_model"`.

    Raises:
        ConfigurationError: `langchain` is not installed, the name means nothing to it, the
            integration of the provider is missing or refuses its settings, or `model` is neither a
            chat model nor a name. What `model.bind(...)`, `.bind_tools(...)`, `.with_retry()` and
            the like return is refused too: names, token counts and limits are read from the model
            itself, and it is called with settings of ours that the bound ones would contradict.

    Example:
        ```python
        from langchain_core.language_models import FakeListChatModel
        from langchain_replm._models import resolve_chat_model

        model = FakeListChatModel(responses=["hello"])
        assert resolve_chat_model(model, role="root_model") is model
        ```
    """
    if isinstance(model, BaseChatModel):
        return model
    if isinstance(model, str):
        return _model_by_name(model, role)
    raise ConfigurationError(_not_a_model(model, role))


def resolve_by_depth(
    given: BaseChatModel | str | Sequence[BaseChatModel | str] | None, *, default: BaseChatModel
) -> tuple[BaseChatModel, ...]:
    """The sub-models by depth; the last one is for all that are deeper.

    Raises:
        ConfigurationError: There is none, or one is wrong.
    """
    if given is None:
        return (default,)
    if isinstance(given, list | tuple):
        if not given:
            msg = f"`sub_model` is an empty list. Pass {_ALLOWED}, or a list of them by depth."
            raise ConfigurationError(msg)
        return tuple(
            resolve_chat_model(model, role=f"sub_model[{depth}]")
            for depth, model in enumerate(given)
        )
    model: Any = given
    return (resolve_chat_model(model, role="sub_model"),)


def resolve_named(models: Mapping[str, BaseChatModel | str]) -> dict[str, BaseChatModel]:
    """The models of `llm_query(..., model=name)`.

    Raises:
        ConfigurationError: One is wrong.
    """
    return {
        name: resolve_chat_model(model, role=f"models[{name!r}]") for name, model in models.items()
    }


def _model_by_name(name: str, role: str) -> BaseChatModel:
    if not name.strip():
        msg = f"`{role}` is an empty string. Pass {_ALLOWED}."
        raise ConfigurationError(msg)
    try:
        # By name, because type checkers must be content with and without the optional package.
        chat_models = importlib.import_module("langchain.chat_models")
    except ImportError as error:
        msg = (
            f"`{role}={name!r}` names a model, and names are looked up by the `langchain` package, "
            'which is not installed: `pip install "langchain-replm[models]"`. '
            "Or pass the chat model itself, such as `ChatOpenAI(model=...)`."
        )
        raise ConfigurationError(msg) from error
    try:
        model = chat_models.init_chat_model(name)
    except Exception as error:
        # Constructors of providers raise what they like; each of them means a wrong setting.
        msg = (
            f"`{role}={name!r}` is not a model that `langchain.chat_models.init_chat_model` can "
            f"build (names look like 'openai:gpt-5-mini'): {error}"
        )
        raise ConfigurationError(msg) from error
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(_not_a_model(model, role))
    return model


def _not_a_model(model: object, role: str) -> str:
    start = f"`{role}` must be {_ALLOWED}; got {_type_name(model)}."
    if isinstance(model, type):
        return f"{start} This is a class: pass an instance of it."
    if _package(model) == "openai":
        return f"{start} For a client of the OpenAI SDK use `RLM.from_openai(client, ...)`."
    if isinstance(model, Runnable):
        return (
            f"{start} Pass the model itself: what `.bind(...)` adds belongs into its "
            "constructor, tools into `tools=`, and retries into `max_retries` of the model."
        )
    return start


def _not_a_client(client: object) -> str:
    # The type and never the value: a string at this place is likely to be a key.
    start = (
        "Pass a client of the OpenAI SDK, `openai.OpenAI(...)` or `openai.AsyncOpenAI(...)`; "
        f"got {_type_name(client)}."
    )
    if isinstance(client, type):
        return f"{start} This is a class: pass an instance of it."
    if isinstance(client, BaseChatModel):
        return f"{start} A chat model needs no client: `RLM(root_model=...)`."
    if isinstance(client, str):
        return f"{start} A model that is given by its name needs no client: `RLM(root_model=...)`."
    return f"{start} For other SDKs use their LangChain chat model: `RLM(root_model=...)`."


def _type_name(value: object) -> str:
    if value is None:
        return "None"
    kind = value if isinstance(value, type) else type(value)
    name = kind.__qualname__
    module = kind.__module__
    full = name if module == "builtins" else f"{module.partition('.')[0]}.{name}"
    return f"the class {full}" if isinstance(value, type) else full


def _package(value: object) -> str:
    return type(value).__module__.partition(".")[0]


class _StandIn:
    """Looks like the object that `get` returns, which is called when an attribute is asked for.

    When there is nothing to get, `get` raises, and so does the call that needed it.
    """

    def __init__(self, get: Callable[[], Any]) -> None:
        self._get = get

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_get":
            # `copy`, `pickle` and `inspect` ask for protocols that a stand-in does not speak.
            raise AttributeError(name)
        return getattr(self._get(), name)


class _Twins:
    """The clients of the other colour, each built when it is first needed.

    A client costs some 20 ms and a TLS context, and most programs use one colour only. The async
    clients are one for each event loop, because the connections of a pool belong to the loop that
    opened them: with one pool, every second `asyncio.run(model.ainvoke(...))` of a script would
    fail with "Event loop is closed".
    """

    def __init__(self, client: openai.OpenAI | openai.AsyncOpenAI, *, per_loop: bool) -> None:
        self._client = client
        self._per_loop = per_loop
        self._lock = threading.Lock()
        self._by_loop: WeakKeyDictionary[object, Any] = WeakKeyDictionary()

    def get(self) -> Any:
        owner: object = self
        if self._per_loop:
            with contextlib.suppress(RuntimeError):  # no loop runs in this thread
                owner = asyncio.get_running_loop()
        with self._lock:
            if owner not in self._by_loop:
                self._by_loop[owner] = _twin(self._client)
            return self._by_loop[owner]


def _twin(client: openai.OpenAI | openai.AsyncOpenAI) -> openai.OpenAI | openai.AsyncOpenAI:
    """The client of the other colour, with the same settings.

    The SDK has no public way to read some of them; the private names are those that its own
    `client.copy()` uses, and a missing one means that this version has no such setting.
    """
    import openai  # noqa: PLC0415 - loaded already: the client is an object of it

    twins: dict[type, type[Any]] = {
        openai.OpenAI: openai.AsyncOpenAI,
        openai.AsyncOpenAI: openai.OpenAI,
        openai.AzureOpenAI: openai.AsyncAzureOpenAI,
        openai.AsyncAzureOpenAI: openai.AzureOpenAI,
    }
    # Tracing tools make subclasses of their own; the nearest class of the SDK counts.
    family = next(c for c in type(client).__mro__ if c.__module__.partition(".")[0] == "openai")
    if family not in twins:
        raise _no_twin(client, f"a {family.__name__} has no twin here")
    for name in ("workload_identity", "_provider"):
        if getattr(client, name, None) is not None:
            raise _no_twin(client, f"its `{name.strip('_')}` belongs to one colour")

    is_async = isinstance(client, openai.AsyncOpenAI)
    key = getattr(client, "_api_key_provider", None)
    settings: dict[str, Any] = {
        "api_key": client.api_key if key is None else _other_colour(client, key, is_async=is_async),
        "organization": client.organization,
        "project": client.project,
        "webhook_secret": client.webhook_secret,
        "base_url": str(client.base_url),
        "websocket_base_url": client.websocket_base_url,
        "timeout": client.timeout,
        "max_retries": client.max_retries,
        "default_headers": getattr(client, "_custom_headers", None),
        "default_query": client.default_query,
        "_strict_response_validation": getattr(client, "_strict_response_validation", False),
    }
    if isinstance(client, openai.AzureOpenAI | openai.AsyncAzureOpenAI):
        settings["api_version"] = getattr(client, "_api_version", None)
        settings["azure_ad_token"] = getattr(client, "_azure_ad_token", None)
        token = getattr(client, "_azure_ad_token_provider", None)
        if token is not None:
            token = _other_colour(client, token, is_async=is_async)
        settings["azure_ad_token_provider"] = token
    admin_key = getattr(client, "admin_api_key", None)
    if admin_key is not None:
        settings["admin_api_key"] = admin_key
    twin: openai.OpenAI | openai.AsyncOpenAI = twins[family](**settings)
    return twin


def _other_colour(
    client: openai.OpenAI | openai.AsyncOpenAI, secret: Callable[[], Any], *, is_async: bool
) -> Callable[[], str] | Callable[[], Awaitable[str]]:
    """The function that fetches a key or a token, for the twin of `client`."""
    if not is_async:

        async def in_a_thread() -> str:
            # It may ask a server for the key, which must not block the event loop.
            return await asyncio.to_thread(secret)

        return in_a_thread

    def awaited_nowhere() -> str:
        result = secret()
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise _no_twin(client, "its key comes from an async function")
        return str(result)

    return awaited_nowhere


def _no_twin(client: openai.OpenAI | openai.AsyncOpenAI, why: str) -> ConfigurationError:
    import openai  # noqa: PLC0415 - loaded already: the client is an object of it

    given, other, calls = "sync", "async", "`invoke` and `stream`"
    if isinstance(client, openai.AsyncOpenAI):
        given, other, calls = "async", "sync", "`ainvoke` and `astream`"
    return ConfigurationError(
        f"This model was made from the {given} client {_type_name(client)}, and there is no "
        f"{other} twin of it, because {why}. Call it by {calls}, or pass {other} clients."
    )
