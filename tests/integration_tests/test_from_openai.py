"""Chat models from raw OpenAI clients and from names, against a real (loopback) server."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import sys

import httpx
import openai
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumps

from langchain_replm._models import chat_model_from_client, resolve_chat_model
from langchain_replm.errors import ConfigurationError
from tests.openai_server import Fault, OpenAIServer, Reply

SETTINGS = {
    "api_key": "sk-secret",
    "organization": "org-red",
    "project": "proj-blue",
    "timeout": 17.0,
    "max_retries": 5,
    "default_headers": {"X-Team": "red", "User-Agent": "our-agent"},
    "default_query": {"tenant": "t1"},
}
COLOURS = ["sync", "async"]


@pytest.fixture
def server():
    with OpenAIServer(lambda request: Reply("four words in reply")) as running:
        yield running


@pytest.fixture
async def made(server):
    """Make clients and models, and close afterwards what they opened.

    The twins too: a socket that nobody closes is a warning, and a warning is an error here.
    """
    clients, models = [], []

    def make(colour, model="m", *, azure=False, **settings):
        if azure:
            kind = openai.AzureOpenAI if colour == "sync" else openai.AsyncAzureOpenAI
            settings = {"azure_endpoint": server.origin, "api_version": "2026-01-01", **settings}
        else:
            kind = openai.OpenAI if colour == "sync" else openai.AsyncOpenAI
            settings = {"base_url": server.base_url, "api_key": "x", **settings}
        clients.append(kind(**settings))
        models.append(chat_model_from_client(clients[-1], model))
        return clients[-1], models[-1]

    yield make
    for model in models:
        await close(model.root_client)
        await close(model.root_async_client)
    gc.collect()


async def close(client):
    try:
        closing = client.close()
    except ConfigurationError:  # there is no twin
        return
    if closing is not None:
        await closing


async def call(model, colour, prompt="one two three"):
    """One call in a colour, on a thread of its own if it is a sync one."""
    if colour == "sync":
        return await asyncio.to_thread(model.invoke, prompt)
    return await model.ainvoke(prompt)


def other(colour):
    return "async" if colour == "sync" else "sync"


@pytest.mark.parametrize("colour", COLOURS)
class TestBothColours:
    async def test_a_client_answers_in_both_colours(self, made, colour):
        client, model = made(colour)
        for call_colour in COLOURS:
            message = await call(model, call_colour)
            assert message.text == "four words in reply"
            assert message.usage_metadata["input_tokens"] == 3
            assert message.usage_metadata["output_tokens"] == 4
        given = model.root_client if colour == "sync" else model.root_async_client
        assert given is client

    async def test_streams_count_the_same_tokens(self, made, colour):
        _, model = made(colour)
        plain = await call(model, colour)

        def streamed():
            first, *rest = model.stream("one two three")
            return sum(rest, first)

        first, *rest = [chunk async for chunk in model.astream("one two three")]
        for message in (await asyncio.to_thread(streamed), sum(rest, first)):
            assert message.text == plain.text
            assert message.usage_metadata == plain.usage_metadata

    async def test_the_settings_arrive(self, made, server, colour):
        _, model = made(colour, "gpt-x", **SETTINGS)
        for call_colour in COLOURS:
            await call(model, call_colour)
            request = server.requests[-1]
            assert request.model == "gpt-x"
            assert request.path == "/v1/chat/completions"
            assert request.query == {"tenant": "t1"}
            assert request.headers["authorization"] == "Bearer sk-secret"
            assert request.headers["openai-organization"] == "org-red"
            assert request.headers["openai-project"] == "proj-blue"
            assert request.headers["x-team"] == "red"
            assert request.headers["user-agent"] == "our-agent"
            assert request.headers["x-stainless-read-timeout"] == "17.0"
            # Telemetry of the SDK tells the truth about the colour.
            expected = "false" if call_colour == "sync" else "async:asyncio"
            assert request.headers["x-stainless-async"] == expected

    async def test_retries_and_timeout_are_kept(self, made, server, colour):
        _, model = made(colour, max_retries=3, timeout=0.3)
        for call_colour in COLOURS:
            server.reset()
            server.inject(*[Fault("status", status=429, retry_after_seconds=0.001)] * 3)
            assert (await call(model, call_colour)).text == "four words in reply"
            assert len(server.requests) == 4
        _, model = made(colour, max_retries=0, timeout=0.3)
        for call_colour in COLOURS:
            server.inject(Fault("status", status=500))
            with pytest.raises(openai.InternalServerError):
                await call(model, call_colour)
            server.inject(Fault("hang"))
            with pytest.raises(openai.APITimeoutError):
                await call(model, call_colour)

    async def test_fields_tell_what_the_client_does(self, made, server, colour):
        client, model = made(colour, **SETTINGS)
        assert model.model_name == "m"
        assert model.openai_api_base == str(client.base_url)
        assert model.openai_organization == "org-red"
        assert model.max_retries == 5
        assert model.request_timeout == 17.0
        assert model.use_responses_api is False
        assert model.stream_usage is True
        assert model.root_client.max_retries == model.root_async_client.max_retries == 5
        assert model.root_client.timeout == model.root_async_client.timeout == 17.0
        assert "sk-secret" not in dumps(model)
        assert "sk-secret" not in repr(model)

    async def test_the_environment_does_not_leak_into_the_twin(
        self, made, server, colour, monkeypatch
    ):
        _, model = made(colour)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
        monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:1/v1")
        for call_colour in COLOURS:
            await call(model, call_colour)
            assert server.requests[-1].headers["authorization"] == "Bearer x"

    async def test_the_client_outlives_the_model(self, made, server, colour):
        client, model = made(colour)
        await call(model, colour)
        alone = chat_model_from_client(client, "n")
        await call(alone, colour)
        del alone
        gc.collect()
        assert not client.is_closed()
        await call(model, colour)
        assert server.connections == 1  # and it is one pool for both models

    async def test_tools_and_structured_output_go_through_it(self, made, server, colour):
        _, model = made(colour)
        server.reset(lambda request: Reply('{"answer": 4}'))
        schema = {
            "title": "Answer",
            "description": "An answer.",
            "type": "object",
            "properties": {"answer": {"type": "integer"}},
            "required": ["answer"],
        }
        structured = model.with_structured_output(schema, method="json_schema")
        for call_colour in COLOURS:
            assert await call(structured, call_colour) == {"answer": 4}
        server.reset(lambda request: Reply(None, tool_calls=[{"name": "f", "args": {"a": 1}}]))
        with_tools = model.bind_tools([{**schema, "title": "f"}])
        for call_colour in COLOURS:
            assert (await call(with_tools, call_colour)).tool_calls[0]["args"] == {"a": 1}

    async def test_a_copy_of_the_model_works(self, made, server, colour):
        _, model = made(colour)
        other_name = model.model_copy(update={"model_name": "n"})
        for call_colour in COLOURS:
            await call(other_name, call_colour)
            assert server.requests[-1].model == "n"

    async def test_no_limit_of_langchain_between_chunks(self, made, colour):
        _, model = made(colour)
        assert not getattr(model, "stream_chunk_timeout", None)

    async def test_the_twin_is_built_at_its_first_call(self, made, colour, monkeypatch):
        _, model = made(colour)
        twin_class = "AsyncOpenAI" if colour == "sync" else "OpenAI"
        built = []
        original = getattr(openai, twin_class)

        class Counting(original):
            def __init__(self, **settings):
                built.append(settings)
                super().__init__(**settings)

        monkeypatch.setattr(openai, twin_class, Counting)
        await call(model, colour)
        assert built == []
        await asyncio.gather(*(call(model, other(colour)) for _ in range(5)))
        if colour == "async":
            model.invoke("a")  # on the thread of the loop: still the same one
        assert len(built) == 1


def test_the_async_twin_works_in_every_event_loop(server):
    async def once(model):
        await model.ainvoke("a")
        await model.ainvoke("b")
        twin = model.root_async_client
        await twin.close()

    with openai.OpenAI(base_url=server.base_url, api_key="x") as client:
        model = chat_model_from_client(client, "m")
        for number in range(3):
            asyncio.run(once(model))
            assert server.connections == number + 1
        model.invoke("a")


class TestHTTPClient:
    def test_the_sync_one_is_really_used(self, server):
        seen = []
        hooks = {"request": [lambda request: seen.append(request.url.path)]}
        with http_client("Client", event_hooks=hooks) as http:
            client = openai.OpenAI(base_url=server.base_url, api_key="x", http_client=http)
            model = chat_model_from_client(client, "m")
            model.invoke("a")
            list(model.stream("a"))
            assert seen == ["/v1/chat/completions"] * 2
            del client, model
            gc.collect()
            assert not http.is_closed

    async def test_the_async_one_is_really_used(self, server):
        seen = []

        async def hook(request):
            seen.append(request.url.path)

        async with http_client("AsyncClient", event_hooks={"request": [hook]}) as http:
            client = openai.AsyncOpenAI(base_url=server.base_url, api_key="x", http_client=http)
            model = chat_model_from_client(client, "m")
            await model.ainvoke("a")
            assert [chunk async for chunk in model.astream("a")]
            assert seen == ["/v1/chat/completions"] * 2
            # The twin does without it, as the docstring says.
            await asyncio.to_thread(model.invoke, "a")
            assert len(seen) == 2
            model.root_client.close()
            assert not http.is_closed


def http_client(kind, **settings):
    """An HTTP client of the library that the installed SDK uses itself."""
    default = openai.DefaultHttpxClient if kind == "Client" else openai.DefaultAsyncHttpxClient
    module = next(c for c in default.__mro__ if c.__module__.partition(".")[0] != "openai")
    assert module.__name__ == kind
    assert issubclass(module, getattr(httpx, kind)) or module.__module__ == "httpx2"
    return module(**settings)


class TestKeysFromFunctions:
    async def test_a_sync_function(self, made, server):
        keys = iter(["k1", "k2"])
        _, model = made("sync", api_key=lambda: next(keys))
        await call(model, "sync")
        await call(model, "async")
        got = [request.headers["authorization"] for request in server.requests]
        assert got == ["Bearer k1", "Bearer k2"]

    async def test_an_async_function_has_no_sync_twin(self, made, server):
        async def key():
            return "k1"

        _, model = made("async", api_key=key)
        await call(model, "async")
        assert server.requests[0].headers["authorization"] == "Bearer k1"
        with pytest.raises(ConfigurationError, match=r"async function.*`ainvoke` and `astream`"):
            await call(model, "sync")
        assert len(server.requests) == 1


@pytest.mark.parametrize("colour", COLOURS)
class TestAzure:
    async def test_both_colours(self, made, server, colour):
        _, model = made(
            colour, "my-deployment", azure=True, api_key="az", default_headers={"X-Team": "red"}
        )
        for call_colour in COLOURS:
            assert (await call(model, call_colour)).text == "four words in reply"
            request = server.requests[-1]
            assert request.path == "/openai/deployments/my-deployment/chat/completions"
            assert request.query == {"api-version": "2026-01-01"}
            assert request.headers["api-key"] == "az"
            assert request.headers["x-team"] == "red"

    async def test_a_deployment_of_the_client(self, made, server, colour):
        _, model = made(colour, "m", azure=True, api_key="az", azure_deployment="fixed")
        for call_colour in COLOURS:
            await call(model, call_colour)
            assert server.requests[-1].path == "/openai/deployments/fixed/chat/completions"

    async def test_tokens(self, made, server, colour, monkeypatch):
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "of-the-environment")
        _, model = made(colour, azure=True, azure_ad_token="token")  # noqa: S106
        _, by_function = made(colour, azure=True, azure_ad_token_provider=lambda: "fetched")
        for call_colour in COLOURS:
            await call(model, call_colour)
            await call(by_function, call_colour)
            token, fetched = server.requests[-2:]
            assert token.headers["authorization"] == "Bearer token"
            assert fetched.headers["authorization"] == "Bearer fetched"
            assert "api-key" not in token.headers
            assert "api-key" not in fetched.headers


async def test_an_async_azure_token_has_no_sync_twin(made):
    async def token():
        return "fetched"

    _, model = made("async", azure=True, azure_ad_token_provider=token)
    await call(model, "async")
    with pytest.raises(ConfigurationError, match="async function"):
        await call(model, "sync")


class TestSubclasses:
    async def test_of_a_user(self, server):
        class Traced(openai.OpenAI):
            pass

        with Traced(base_url=server.base_url, api_key="x") as client:
            model = chat_model_from_client(client, "m")
            assert model.invoke("a").text == "four words in reply"
            assert (await model.ainvoke("a")).text == "four words in reply"
            await model.root_async_client.close()

    async def test_of_the_sdk_without_a_twin(self):
        class Other(openai.OpenAI):
            pass

        Other.__module__ = "openai.lib.other"
        with Other(api_key="x") as client:
            model = chat_model_from_client(client, "m")
            with pytest.raises(ConfigurationError, match=r"Other has no twin.*`invoke`"):
                await model.ainvoke("a")

    async def test_settings_of_one_colour(self):
        with openai.OpenAI(api_key="x") as client:
            client.workload_identity = object()
            model = chat_model_from_client(client, "m")
            with pytest.raises(ConfigurationError, match="`workload_identity` belongs to one"):
                await model.ainvoke("a")


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("client", "words"),
        [
            (None, "got None"),
            (7, "got int"),
            ("sk-secret", "got str.*given by its name"),
            (openai.OpenAI, "got the class openai.OpenAI.*an instance"),
            (
                FakeListChatModel(responses=["a"]),
                "got langchain_core.FakeListChatModel.*root_model",
            ),
            (
                type("Anthropic", (), {"__module__": "anthropic"})(),
                "got anthropic.Anthropic.*other",
            ),
        ],
    )
    def test_a_client_that_is_none(self, client, words):
        with pytest.raises(ConfigurationError, match=rf"openai\.AsyncOpenAI.*{words}") as caught:
            chat_model_from_client(client, "m")
        assert "sk-secret" not in str(caught.value)

    @pytest.mark.parametrize("model", [None, "", "  ", 7])
    def test_a_model_that_is_no_name(self, model):
        with (
            openai.OpenAI(api_key="x") as client,
            pytest.raises(ConfigurationError, match="non-empty string"),
        ):
            chat_model_from_client(client, model)


class TestResolve:
    def test_a_chat_model_passes_through(self):
        model = FakeListChatModel(responses=["a"])
        assert resolve_chat_model(model, role="root_model") is model

    @pytest.mark.skipif(importlib.util.find_spec("langchain") is not None, reason="it is installed")
    def test_a_name_without_langchain(self):
        with pytest.raises(ConfigurationError) as caught:
            resolve_chat_model("openai:gpt-5-mini", role="sub_model")
        assert 'pip install "langchain-replm[models]"' in str(caught.value)
        assert "sub_model='openai:gpt-5-mini'" in str(caught.value)

    def test_a_name_while_langchain_cannot_be_imported(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "langchain.chat_models", None)
        with pytest.raises(ConfigurationError, match=r"langchain-replm\[models\]"):
            resolve_chat_model("openai:gpt-5-mini", role="root_model")

    def test_a_name_with_langchain(self, monkeypatch):
        pytest.importorskip("langchain")
        monkeypatch.setenv("OPENAI_API_KEY", "x")
        model = resolve_chat_model("openai:gpt-5-mini", role="root_model")
        assert type(model).__name__ == "ChatOpenAI"
        assert model.model_name == "gpt-5-mini"

    @pytest.mark.parametrize("name", ["no-such-model-xyz", "no_such_provider:model"])
    def test_a_name_that_langchain_does_not_know(self, name):
        pytest.importorskip("langchain")
        with pytest.raises(
            ConfigurationError, match=f"root_model='{name}'.*names look like.*infer"
        ):
            resolve_chat_model(name, role="root_model")

    def test_a_name_without_its_integration(self):
        pytest.importorskip("langchain")
        if importlib.util.find_spec("langchain_anthropic"):
            pytest.skip("it is installed")
        with pytest.raises(ConfigurationError, match=r"langchain[-_]anthropic"):
            resolve_chat_model("anthropic:claude-x", role="root_model")

    def test_a_name_without_a_key(self, monkeypatch):
        pytest.importorskip("langchain")
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
            resolve_chat_model("openai:gpt-5-mini", role="root_model")

    def test_an_empty_name(self):
        with pytest.raises(ConfigurationError, match="`root_model` is an empty string"):
            resolve_chat_model(" ", role="root_model")

    @pytest.mark.parametrize("make", ["bind", "with_retry", "with_config"])
    def test_bindings_are_refused(self, make):
        bound = getattr(FakeListChatModel(responses=["a"]), make)()
        with pytest.raises(ConfigurationError, match=r"got langchain_core.*Pass the model itself"):
            resolve_chat_model(bound, role="root_model")

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            (None, "got None"),
            (7, "got int"),
            (FakeListChatModel, "got the class .*an instance"),
            (openai.OpenAI(api_key="x"), "got openai.OpenAI.*RLM.from_openai"),
        ],
    )
    def test_anything_else_is_refused(self, model, words):
        with pytest.raises(ConfigurationError, match=f"`sub_model` must be .*{words}"):
            resolve_chat_model(model, role="sub_model")
