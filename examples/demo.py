"""Ask questions of a long text that every machine has: Python's own standard library.

    python examples/demo.py                               a key, a local server, or our own planner
    python examples/demo.py --local                       real local weights read the passages
    python examples/demo.py --path book.txt --question "Who is the captain?"

Exit status 0: every question was answered, and every answer to the demo's own questions agrees
with a check that is independent of the run.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import sysconfig
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_checks import DEFAULT_QUESTIONS, Asked, judge
from demo_local import NOTICE, LocalModelError, open_url, serve, weights
from demo_view import open_view
from langchain_core.documents import Document

from langchain_replm import RLM, RLMConfig
from langchain_replm.extractive import ExtractiveChatModel

if TYPE_CHECKING:
    from demo_view import View
    from langchain_core.language_models import BaseChatModel

    from langchain_replm import RLMResponse

WANTED_CHARS = 10_000_000
LOOPBACK = {11434: "Ollama", 8080: "llama.cpp", 8081: "llama.cpp", 8000: "vLLM", 1234: "LM Studio"}
PROBE_SECONDS = 0.3
OPENAI_MODEL = "gpt-5-mini"
EVIDENCE = (
    "End the answer with the evidence, one line each, as `path:line: the source line, verbatim`; "
    "the path is `context_metadata[i]['source']`, lines count from 1."
)
_NOT_SOURCES = {"site-packages", "dist-packages", "__pycache__"}
_TESTS = {"test", "tests", "idle_test"}


@dataclass(frozen=True)
class Models:
    """Who answers, and why."""

    root: BaseChatModel
    sub: BaseChatModel
    why: str
    free: bool = False
    at_once: int = 8


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    view = open_view(plain=options.plain)
    try:
        with ExitStack() as stack:
            models = choose_models(options, view, stack)
            view.say(models.why)
            documents = read_documents(options.path, view)
            return ask_all(options, models, documents, view)
    except LocalModelError as error:
        view.say(f"error: {error}")
        return 2
    finally:
        view.close()


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--question", action="append", help="ask this (may be repeated) instead of our own")
    add("--path", type=Path, help="file or directory to read (default: the standard library)")
    add("--model", help="root model, as init_chat_model names it (gpt-5.2, anthropic:claude-...)")
    add("--sub-model", help="sub-model (default: the root model)")
    add("--local", action="store_true", help="real local weights as sub-model, downloaded once")
    add("--gguf", type=Path, help="with --local: your own file of weights")
    add("--base-url", help="an OpenAI-compatible server of yours, such as http://127.0.0.1:8080/v1")
    add("--local-root", action="store_true", help="with --local: the weights are root model too")
    add("--max-iterations", type=int, default=12)
    add("--sandbox", default="restricted", help="where cells run: restricted, subprocess, none")
    add("--prices", nargs=2, type=float, metavar=("IN", "OUT"), help="USD per million tokens")
    add("--plain", action="store_true", help="plain lines also on a terminal")
    add("--yes", action="store_true", help="download without asking")
    options = parser.parse_args(arguments)
    if options.path is not None and not options.question:
        parser.error("--path needs --question: our own questions are about the standard library")
    if options.gguf is not None and not options.gguf.is_file():
        parser.error(f"--gguf: no such file: {options.gguf}")
    return options


# --- Who answers -------------------------------------------------------------------------------


def choose_models(options: argparse.Namespace, view: View, stack: ExitStack) -> Models:
    """The first that there is: named, local weights, a key, a server on loopback, our planner."""
    if options.local or options.gguf is not None:
        return local_models(options, view, stack)
    if options.base_url:
        found = served_at(options.base_url)
        if found is None:
            sys.exit(f"No OpenAI-compatible server answers at {options.base_url}.")
        return loopback_models(options.base_url, found, f"--base-url {options.base_url}")
    if options.model:
        root = named_model(options.model)
        sub = named_model(options.sub_model) if options.sub_model else root
        return Models(root, sub, f"Model: {options.model}, because --model names it.")
    if os.environ.get("OPENAI_API_KEY"):
        name = os.environ.get("OPENAI_MODEL", OPENAI_MODEL)
        root = named_model(name)
        sub = named_model(options.sub_model) if options.sub_model else root
        return Models(root, sub, f"Model: {name}, because OPENAI_API_KEY is set.")
    for port, server in LOOPBACK.items():
        url = f"http://127.0.0.1:{port}/v1"
        found = served_at(url)
        if found is not None:
            return loopback_models(url, found, f"{server} or similar answers on port {port}")
    model = ExtractiveChatModel()
    return Models(
        model,
        model,
        "Model: a small deterministic planner without a neural network (ExtractiveChatModel), "
        "because there is no --model, no OPENAI_API_KEY and no model server on loopback.",
        free=True,
    )


def named_model(name: str) -> BaseChatModel:
    """A chat model by name; plain OpenAI names need no further package."""
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415 - an optional package
    except ImportError:
        provider, _, plain = name.rpartition(":")
        if provider in {"", "openai"} and os.environ.get("OPENAI_API_KEY"):
            return openai_model(plain)
        sys.exit(
            f"--model {name} needs `pip install langchain` and the provider's package (such as "
            "langchain-anthropic). A plain OpenAI name needs only OPENAI_API_KEY."
        )
    try:
        model: BaseChatModel = init_chat_model(name)
    except (ImportError, ValueError) as error:
        sys.exit(f"--model {name}: {error}")
    return model


def openai_model(name: str, **settings: Any) -> BaseChatModel:
    from langchain_openai import ChatOpenAI  # noqa: PLC0415 - takes a second to import

    if settings.get("base_url", "").startswith("http://127.0.0.1"):
        for variable in ("NO_PROXY", "no_proxy"):  # loopback is never behind a proxy
            past = [os.environ.get(variable), "127.0.0.1"]
            os.environ[variable] = ",".join(filter(None, past))
    return ChatOpenAI(model=name, **settings)


def served_at(base_url: str) -> str | None:
    """The first chat model that an OpenAI-compatible server lists; None without a server."""
    import json  # noqa: PLC0415

    try:
        listed = json.loads(open_url(f"{base_url.rstrip('/')}/models", PROBE_SECONDS))["data"]
        names = [str(item["id"]) for item in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return next((name for name in names if "embed" not in name.lower()), None)


def loopback_models(base_url: str, name: str, why: str) -> Models:
    key = os.environ.get("OPENAI_API_KEY", "none")
    model = openai_model(name, base_url=base_url, api_key=key)
    return Models(model, model, f"Model: {name}, because {why}.", free=True, at_once=4)


def local_models(options: argparse.Namespace, view: View, stack: ExitStack) -> Models:
    """Real weights as sub-model (and root, when asked), served by a child process."""
    view.say(NOTICE)
    if options.base_url:
        url = options.base_url
        name = served_at(url) or "local"
    else:
        if options.gguf is None and not options.yes and sys.stdin.isatty():
            view.say("Weights that are not there yet are downloaded (93 MB). Enter to go on.")
            input()
        url, name = stack.enter_context(serve(options.gguf or weights(view.say), view.say)), "local"
    settings = {"base_url": url, "api_key": "none", "temperature": 0, "max_retries": 0}
    sub = openai_model(name, max_completion_tokens=48, timeout=120, **settings)
    planner = ExtractiveChatModel(role="root", passages=4, passage_chars=600)
    root = openai_model(name, timeout=600, **settings) if options.local_root else planner
    who = "the local weights" if options.local_root else "a small deterministic planner"
    return Models(root, sub, f"Root: {who}. Sub-model: the local weights.", free=True, at_once=1)


# --- What is read ------------------------------------------------------------------------------


def read_documents(path: Path | None, view: View) -> list[Document]:
    """The text, one document a file, each with its path as `source`."""
    if path is None:
        documents = standard_library(view)
    elif path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        documents = [Document(text, metadata={"source": path.name})]
    else:
        visible = [f for f in path.rglob("*") if not _hidden(f.relative_to(path).parts)]
        documents = load(path, sorted(f for f in visible if f.is_file()))
    if not documents:
        sys.exit(f"There is no text to read in {path}.")
    chars = sum(len(document.page_content) for document in documents)
    what = f"the standard library of Python {sys.version.split()[0]}" if path is None else str(path)
    view.say(f"Text: {what}: {len(documents):,} files, {chars:,} characters.")
    return documents


def standard_library(view: View) -> list[Document]:
    """The sources without tests, unless they are needed to make the text long."""
    home = Path(sysconfig.get_paths()["stdlib"])
    files = [f for f in home.rglob("*.py") if not _NOT_SOURCES & {*f.relative_to(home).parts}]
    plain = load(home, sorted(f for f in files if not _TESTS & {*f.relative_to(home).parts}))
    if sum(len(document.page_content) for document in plain) >= WANTED_CHARS:
        return plain
    view.say("The standard library's sources are short here, so its tests are read too.")
    return load(home, sorted(files))


def _hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part in _NOT_SOURCES for part in parts)


def load(home: Path, files: list[Path]) -> list[Document]:
    """Text files as documents; files that are not text are left out."""
    documents = []
    for file in files:
        text = file.read_bytes()
        if b"\0" not in text[:8192]:
            source = file.relative_to(home).as_posix()
            content = text.decode("utf-8", "replace").replace("\r\n", "\n")
            documents.append(Document(content, metadata={"source": source}))
    return documents


# --- Asking ------------------------------------------------------------------------------------


def ask_all(
    options: argparse.Namespace, models: Models, documents: list[Document], view: View
) -> int:
    """Ask every question; 0 when all went well."""
    own = not options.question
    questions = DEFAULT_QUESTIONS if own else tuple(Asked(q) for q in options.question)
    prices = [p / 1e6 for p in options.prices or ([0.0, 0.0] if models.free else [])]
    config = RLMConfig(
        max_iterations=options.max_iterations,
        max_concurrency=models.at_once,
        sandbox_mode=options.sandbox,
        cost_per_input_token=prices[0] if prices else None,
        cost_per_output_token=prices[1] if prices else None,
    )
    rlm = RLM(models.root, sub_model=models.sub, config=config)
    texts = {document.metadata["source"]: document.page_content for document in documents}
    rows, good = [], True
    for number, asked in enumerate(questions, 1):
        view.question(number, asked.question)
        response = rlm.generate(f"{asked.question}\n\n{EVIDENCE}", documents, on_event=view.event)
        verdict = judge(asked, response.answer, texts)
        answered = response.stop_reason == "answered" and bool(response.answer.strip())
        # The tiny local weights are shown as they are: their mistakes are reported, not an error.
        strict = own and not options.local and options.gguf is None
        fine = answered and (verdict.right or not strict)
        good = good and fine
        # Of a question of yours we do not know the truth, only whether the quotes are real.
        word = "verified" if asked.check is not None else "quotes verified"
        checked = f"{word if verdict.right else 'NOT VERIFIED'}: {verdict.why}"
        view.result(response.answer, [checked, spent(response)], good=fine and verdict.right)
        rows.append(row(number, asked.question, response, word if verdict.right else "no"))
    header = ("", "question", "answer", "checked", "iterations", "sub-calls", "tokens in/out",
              "cost", "seconds")  # fmt: skip
    view.summary(header, rows)
    return 0 if good else 1


def cost(response: RLMResponse) -> str:
    return "unknown" if response.cost is None else f"${response.cost:.4f}"


def spent(response: RLMResponse) -> str:
    return (
        f"{response.stop_reason}; {response.iterations} iterations, "
        f"{response.sub_calls} sub-calls, "
        f"{response.total_input_tokens:,} tokens in, {response.total_output_tokens:,} out, "
        f"cost {cost(response)}, {response.elapsed_seconds:.1f} s"
    )


def row(number: int, question: str, response: RLMResponse, checked: str) -> list[str]:
    first = re.sub(r"\s+", " ", response.answer.strip().split("\n")[0])
    tokens = f"{response.total_input_tokens:,} / {response.total_output_tokens:,}"
    return [
        str(number),
        question[:48],
        first[:60],
        checked,
        str(response.iterations),
        str(response.sub_calls),
        tokens,
        cost(response),
        f"{response.elapsed_seconds:.1f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
