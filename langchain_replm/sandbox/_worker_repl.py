"""The REPL inside the worker: its names, its imports, and what happens when a cell runs.

The standard library only; nothing is imported here that a session may not need. Rules:

1. Whatever a cell does, `execute` and `submit` return a message. Silence would hang the host.
2. The namespace of cells is that of the module `__main__` and holds nothing of ours but the
   names of the contract. In the process of the host (`in_process`) nothing global is touched.
3. An interrupt is raised only below `_inside_cell`; everything else here may rely on running on.
"""

from __future__ import annotations

import builtins
import sys
from _thread import get_ident
from types import BuiltinFunctionType, FunctionType, ModuleType

# As in `typing`, whose import would cost a worker a quarter of its start.
TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from langchain_replm.sandbox import _worker_schema as schemas
    from langchain_replm.sandbox import _worker_text as text
else:
    import _worker_schema as schemas  # the entry point has loaded both by path
    import _worker_text as text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, FrameType
    from typing import Any, NoReturn, TypeVar

    Call = Callable[[str, str, list[dict[str, Any]]], list[dict[str, Any]]]
    F = TypeVar("F", bound=Callable[..., Any])

ONLY_AST = 0x400
MAX_MISCOUNTS = 50
TOP_LEVEL_AWAIT = 0x2000
CO_COROUTINE = 0x80
"""`ast.PyCF_*` and `inspect.CO_COROUTINE`, whose modules cost more to import than a worker has."""

CONTEXT_CHARS = 200
"""A context shorter than this may well be its own answer."""

MAX_RETRIES = 5
"""Rounds in which `llm_map` asks again for what has failed."""

FINAL_NAMES = ("FINAL", "FINAL_VAR", "SHOW_VARS")


class SubmittedError(BaseException):
    """Ends the cell that called `FINAL`; no `except Exception` stops it."""


ENDINGS = (SubmittedError, SystemExit)


def _file_of_caller() -> str:
    """Name the file of the entry point, which makes the `Repl`."""
    return sys._getframe(2).f_code.co_filename  # noqa: SLF001 - nothing else says it


def _inside_cell(body: Callable[[], None]) -> None:
    # The marker on the stack that tells `Repl.on_interrupt` where it may raise.
    body()


class Repl:
    """One namespace and the rules around it.

    Args:
        setup: The setup message of the wire.
        given: Names and values of the datum: `context`, `context_metadata`, shared objects.
        call: Asks the host; blocks the calling thread until the reply is there.
        in_process: Whether this runs inside the host's own process.
    """

    def __init__(
        self, setup: dict[str, Any], given: dict[str, Any], call: Call, *, in_process: bool
    ) -> None:
        self.policy = setup["policy"]
        self.limits = setup["limits"]
        self.in_process = in_process
        self.abandon_calls: Callable[[], None] = lambda: None
        self.is_late, self.mark_late = text.finder_of_late_threads()
        self.console = text.Console(self.is_late)
        self.interrupted = False
        self.conductor: Callable[[Callable[[], None]], None] = _inside_cell
        self._is_deferred = False
        self._thread = get_ident()
        self._seed: int = setup["seed"]
        self._seeded: set[str] = set()
        self._call = call
        self._sources: dict[str, list[str]] = {}
        self._registered = self._count = 0
        self._submitted: tuple[str, bool] | None = None
        self._seen: dict[str, tuple[int, str]] = {}
        self._own = {__file__, text.__file__, schemas.__file__, _file_of_caller()}
        self._given = given
        self.module = ModuleType("__main__")
        self.names = self.module.__dict__
        self.answer = {"content": "", "ready": False}
        self._reserved = {
            **given,
            **{spec["name"]: self._function(spec) for spec in setup["functions"]},
            "SubCallError": text.SubCallError,
            "FINAL": self._final(),
            "FINAL_VAR": self._final_var(),
            "SHOW_VARS": self._show_vars(),
        }
        self.names["__builtins__"] = self._builtins()
        self.names.update(self._reserved)
        self.names["answer"] = self.answer
        self._sys = _SysView(self.console, self.policy["sys_names"])
        if not in_process:
            sys.modules["__main__"] = self.module
            sys.unraisablehook = self._unraisable

    # What the outside calls.

    def renew(self, given: dict[str, Any]) -> None:
        """Put another datum in place of the first; the variables of cells stay."""
        for name in self._given:
            del self._reserved[name]
            self.names.pop(name, None)
        self._given = given
        self._reserved.update(given)
        self.names.update(given)

    def execute(self, cell_id: str, code: str) -> dict[str, Any]:
        """Run a cell and describe how it ended."""
        self._count += 1
        filename = f"<cell {self._count}>"
        self._sources[filename] = code.splitlines()
        return self._conduct(cell_id, lambda: self._run_cell(filename, code))

    def submit(self, cell_id: str, kind: str, name: str) -> dict[str, Any]:
        """Resolve an answer that was written outside of a cell."""
        return self._conduct(cell_id, lambda: self._resolve(kind, name.strip(), name))

    def on_interrupt(self, _signal: int, frame: FrameType | None) -> None:
        """Raise `KeyboardInterrupt` in the cell; do nothing when no cell runs."""
        while frame is not None:
            if frame.f_code.co_name == "write_frame" and frame.f_code.co_filename in self._own:
                # Half a frame would break the wire; `Link.call` asks afterwards.
                self._is_deferred = True
                return
            if frame.f_code is _inside_cell.__code__:
                self.interrupted = True
                self.abandon_calls()
                raise KeyboardInterrupt
            frame = frame.f_back

    def take_interrupt(self) -> bool:
        """Say, once, whether an interrupt came while a frame was written."""
        if not self._is_deferred or get_ident() != self._thread:
            return False
        self._is_deferred = False
        self.interrupted = True
        self.abandon_calls()
        return True

    def is_cell_thread(self) -> bool:
        """Say whether the caller is the thread that runs cells, not one that a cell started."""
        return get_ident() == self._thread

    # One cell from beginning to end.

    def _conduct(self, cell_id: str, body: Callable[[], None]) -> dict[str, Any]:
        limits = self.limits
        capture = text.Capture(
            limits["output_head_chars"], limits["output_tail_chars"], limits["output_total_chars"]
        )
        self._submitted = None
        self.interrupted = self._is_deferred = False
        self._notice_modules()
        if not self.in_process:
            sys.stdout = sys.stderr = self.console
        self.console.capture = capture
        error: BaseException | None = None
        try:
            self.conductor(body)
        except BaseException as caught:  # noqa: BLE001 - a cell may raise anything
            error = caught
        if self._is_final(error):
            error = None
        self.console.capture = None
        self.mark_late()
        if not self.in_process:
            sys.stdout = sys.stderr = self.console
        try:
            return self._report(cell_id, capture, error)
        except BaseException as trouble:  # noqa: BLE001 - the host must hear something
            return _blank_report(cell_id, f"the REPL itself failed: {text.type_name(trouble)}")
        finally:
            if error is not None:
                # The frames hold the cell's locals.
                error.__traceback__ = None

    def _is_final(self, error: BaseException | None) -> bool:
        return self._submitted is not None and isinstance(error, ENDINGS)

    def _report(
        self, cell_id: str, capture: text.Capture, error: BaseException | None
    ) -> dict[str, Any]:
        message = _blank_report(cell_id, None)
        if error is not None:
            stopped = self.interrupted and type(error).__name__ in (
                "KeyboardInterrupt",
                "CancelledError",
            )
            message["status"] = "interrupted" if stopped else "error"
            message["error"] = self._error_text(error)
        if self._submitted is not None:
            message["answer"] = {"text": self._submitted[0], "json": self._submitted[1]}
        self._restore()
        message["changed"], message["removed"] = self._changes()
        message["output_head"], message["output_tail"], message["output_chars"] = capture.result()
        return message

    def _error_text(self, error: BaseException) -> str:
        limit = self.limits["error_chars"]
        try:
            return text.error_text(error, self._sources, self._own, limit)
        except BaseException as trouble:  # noqa: BLE001 - MemoryError, or an exception that lies
            return f"{text.type_name(error)} (cannot be shown: {text.type_name(trouble)})"

    def _run_cell(self, filename: str, code: str) -> None:
        self._run(filename, code)
        current = self.names.get("answer")
        if isinstance(current, dict) and current.get("ready"):
            content = current.get("content")
            if content is None or content == "":
                msg = 'answer["ready"] is set, but answer["content"] is empty'
                raise ValueError(msg)
            self._accept(content)

    def _run(self, filename: str, code: str) -> None:
        body, last, is_echoed = _compile(filename, code)
        codes = [part for part in (body, last) if part is not None]
        value = None
        if any(part.co_flags & CO_COROUTINE for part in codes):
            value = self._run_in_loop(codes)
        else:
            for part in codes:
                value = eval(part, self.names)  # noqa: S307 - to run cells is what this is for
        if is_echoed:
            limits = self.limits
            shown = text.echo(value, limits["output_head_chars"] + limits["output_tail_chars"])
            if shown is not None:
                self.console.write(shown + "\n")

    def _run_in_loop(self, codes: Sequence[CodeType]) -> Any:
        import asyncio  # noqa: PLC0415 - costs more than the start of a worker

        async def run() -> Any:
            value = None
            for part in codes:
                value = eval(part, self.names)  # noqa: S307 - to run cells is what this is for
                if part.co_flags & CO_COROUTINE:
                    value = await value
            return value

        with asyncio.Runner() as runner:
            return runner.run(run())

    def _restore(self) -> None:
        names = self.names
        names.update(self._reserved)
        current = names.get("answer", self.answer)
        # `answer` is also the most common name for a result. A model that assigns something else
        # than the dict keeps it as a variable, so that FINAL_VAR("answer") finds what it means.
        if isinstance(current, dict) and current is not self.answer and "content" in current:
            self.answer.clear()
            self.answer.update(current)
            names["answer"] = self.answer
        elif "answer" not in names:
            names["answer"] = self.answer
        # A cell that failed has not submitted; the next one shall not do so by accident.
        self.answer["ready"] = False
        names["__builtins__"] = self._builtins()
        names["__name__"] = "__main__"
        if not self.in_process:
            sys.modules["__main__"] = self.module

    # Variables.

    def _own_names(self) -> list[str]:
        """Name the variables that the model has made, in the order of their making."""
        return [
            name
            for name, value in list(self.names.items())
            if type(name) is str
            and not name.startswith("_")
            and name not in self._reserved
            and value is not self.answer
            and not text.is_a(value, ModuleType)
            # What was imported is no variable; functions and classes of cells are.
            and not (
                text.is_a(value, type, FunctionType, BuiltinFunctionType)
                and not text.is_from_cell(value)
            )
        ]

    def _changes(self) -> tuple[dict[str, str], list[str]]:
        now = {}
        for name in self._own_names():
            value = self.names[name]
            now[name] = (id(value), text.summarize(value))
        changed = {name: seen[1] for name, seen in now.items() if self._seen.get(name) != seen}
        removed = [name for name in self._seen if name not in now]
        self._seen = now
        most = text.SUMMARY_NAMES
        if len(changed) > most:
            rest = len(changed) - most
            changed = dict(list(changed.items())[:most])
            changed["..."] = f"and {rest:,} more"
        return (
            {name[: text.NAME_CHARS]: summary for name, summary in changed.items()},
            [name[: text.NAME_CHARS] for name in removed[:most]],
        )

    def _names_for_error(self) -> str:
        own = [name[: text.NAME_CHARS] for name in self._own_names()]
        shown = ", ".join(own[:30]) + (", ..." if len(own) > 30 else "")  # noqa: PLR2004 - a line
        return f"Your variables: {shown}." if own else "You have made no variables yet."

    # Answers.

    def _accept(self, value: object) -> None:
        """Take a value as the answer; the first one counts."""
        for name, given in self._given.items():
            is_long = not isinstance(given, str) or len(given) >= CONTEXT_CHARS
            if value is given and is_long:
                msg = f"the answer is the whole `{name}`; submit what answers the query"
                raise ValueError(msg)
        converted = text.answer_text(value, self.limits["answer_chars"])
        if self._submitted is None:
            self._submitted = converted

    def _value_of(self, name: str) -> Any:
        if name == "answer" and self.names.get(name) is self.answer:
            return self.answer["content"] or None
        if name in self._reserved:
            msg = (
                f"`{name}` belongs to the REPL; an answer is in a variable that you make. "
                f"{self._names_for_error()}"
            )
            raise NameError(msg)
        if name.startswith("__") or name not in self.names:
            msg = f"there is no variable `{name[: text.NAME_CHARS]}`. {self._names_for_error()}"
            raise NameError(msg)
        return self.names[name]

    def _resolve(self, kind: str, name: str, whole: str) -> None:
        name = name.strip("\"'`")
        if kind == "var":
            self._accept(self._value_of(name))
        elif name in self._own_names():
            self._accept(self.names[name])
        else:
            self._accept(whole)

    def _leave(self) -> NoReturn:
        # Python ends another thread without a word only for `SystemExit`.
        raise SubmittedError if self.is_cell_thread() else SystemExit

    def _final(self) -> Callable[[object], None]:
        def FINAL(value: object) -> None:  # noqa: N802 - the name that models are trained on
            """Submit `value` as the answer and end the cell."""
            self._accept(value)
            self._leave()

        return _as_own(FINAL)

    def _final_var(self) -> Callable[[object], None]:
        def FINAL_VAR(name_or_value: object) -> None:  # noqa: N802 - as above
            """Submit the variable of that name (or the value itself) and end the cell."""
            value = name_or_value
            if isinstance(value, str):
                name = value.strip().strip("\"'`")
                is_name = name.isidentifier() and len(name) <= text.NAME_CHARS
                if is_name or any(value is given for given in self._given.values()):
                    value = self._value_of(name if is_name else "context")
            self._accept(value)
            self._leave()

        return _as_own(FINAL_VAR)

    def _show_vars(self) -> Callable[[], str]:
        def SHOW_VARS() -> str:  # noqa: N802 - as above
            """Print and return the variables that you have made, with type and size."""
            lines = [
                f"{name[: text.NAME_CHARS]}: {text.summarize(self.names[name])}"
                for name in self._own_names()[: 2 * text.SUMMARY_NAMES]
            ]
            shown = "\n".join(lines) or "You have made no variables yet."
            self.console.write(shown + "\n")
            return text.Shown(shown)

        return _as_own(SHOW_VARS)

    # Functions that ask the host.

    def _function(self, spec: dict[str, Any]) -> Callable[..., Any]:
        maker = {
            "llm_query": self._llm_query,
            "llm_query_batch": self._llm_query_batch,
            "llm_map": self._llm_map,
            "rlm_query": self._rlm_query,
            "rlm_query_batch": self._rlm_query_batch,
            "tool": self._tool,
            "tool_call": self._tool_call,
            "tool_calls": self._tool_calls,
        }[spec["kind"]]
        function = _as_own(maker(spec["name"], spec))
        function.__name__ = function.__qualname__ = spec["name"]
        if spec["doc"]:
            function.__doc__ = spec["doc"]
        return function

    def _one(self, name: str, kind: str, item: dict[str, Any], schema: Any = None) -> Any:
        result = self._call(name, kind, [item])[0]
        if "value" not in result:
            raise text.SubCallError(_failure(result))
        return self._value(result, schema)

    def _many(
        self, name: str, kind: str, items: list[dict[str, Any]], schema: Any = None
    ) -> text.Replies:
        return self._replies(self._results(name, kind, items), schema)

    def _results(self, name: str, kind: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Ask for items of any number, in as many calls as frames of the wire can hold."""
        results: list[dict[str, Any]] = []
        for part in text.in_frames(items, self.limits["frame_bytes"]):
            results += self._call(name, kind, part)
        return results

    def _replies(self, results: list[dict[str, Any]], schema: Any) -> text.Replies:
        return text.Replies(
            self._value(result, schema)
            if "value" in result
            else text.SubCallError(_failure(result))
            for result in results
        )

    def _value(self, result: dict[str, Any], schema: Any) -> Any:
        value = result["value"]
        return _wrapped(value if schema is None else schemas.built(schema, value, self.names))

    @staticmethod
    def _item(schema: str | None, **fields: Any) -> dict[str, Any]:
        return fields if schema is None else {**fields, "schema": schema}

    def _llm_query(self, name: str, _spec: dict[str, Any]) -> Callable[..., Any]:
        def llm_query(
            prompt: str, *rest: object, model: str | None = None, schema: Any = None
        ) -> Any:
            """Ask a language model one prompt; returns text, or with `schema` checked data."""
            if rest:
                msg = (
                    f"{name} takes one prompt, got {1 + len(rest)} arguments. Put the text into "
                    f'the prompt: {name}(f"{{question}}\\n\\n{{text}}")'
                )
                raise TypeError(msg)
            _check_prompt(name, prompt)
            _check_model(name, model)
            told = schemas.schema_text(schema, self.names)
            return self._one(
                name, "llm_query", self._item(told, prompt=prompt, model=model), schema
            )

        return llm_query

    def _llm_query_batch(self, name: str, _spec: dict[str, Any]) -> Callable[..., Any]:
        def llm_query_batch(
            prompts: list[str], *, model: str | None = None, schema: Any = None
        ) -> list[Any]:
            """Ask many prompts at once; replies in order, a failed one is a `SubCallError`."""
            _check_model(name, model)
            told = schemas.schema_text(schema, self.names)
            texts = _checked_prompts(name, prompts)
            items = [self._item(told, prompt=prompt, model=model) for prompt in texts]
            return self._many(name, "llm_query", items, schema)

        return llm_query_batch

    def _llm_map(self, name: str, _spec: dict[str, Any]) -> Callable[..., Any]:
        def llm_map(
            items: Any,
            template: str,
            *,
            schema: Any = None,
            model: str | None = None,
            retries: int = 1,
        ) -> list[Any]:
            """Ask `template` about each item, put in the place of its `{item}`, all at once.

            Returns the replies in order (checked data with `schema`). What failed is asked again
            up to `retries` times; what fails still is a `SubCallError` in its place.
            """
            _check_model(name, model)
            told = schemas.schema_text(schema, self.names)
            prompts = [
                self._item(told, prompt=prompt, model=model)
                for prompt in text.filled(name, items, template)
            ]
            results = self._results(name, "llm_query", prompts)
            for _ in range(min(retries, MAX_RETRIES)):
                failed = [at for at, result in enumerate(results) if "error" in result]
                again = self._results(name, "llm_query", [prompts[at] for at in failed])
                for at, result in zip(failed, again, strict=True):
                    results[at] = result
            return self._replies(results, schema)

        return llm_map

    def _rlm_query(self, name: str, _spec: dict[str, Any]) -> Callable[..., Any]:
        def rlm_query(
            query: str, context: str | list[str] | None = None, *, schema: Any = None
        ) -> Any:
            """Let a child with a REPL of its own answer `query` over `context`."""
            _check_prompt(name, query)
            told = schemas.schema_text(schema, self.names)
            item = self._item(told, prompt=query, context=_checked_context(name, context))
            return self._one(name, "rlm_query", item, schema)

        return rlm_query

    def _rlm_query_batch(self, name: str, _spec: dict[str, Any]) -> Callable[..., Any]:
        def rlm_query_batch(
            queries: list[str], contexts: Any = None, *, schema: Any = None
        ) -> list[Any]:
            """Let many children answer, each over its own context; replies in order."""
            told = schemas.schema_text(schema, self.names)
            texts = _checked_prompts(name, queries)
            if isinstance(contexts, str):
                msg = f"{name} takes a list of contexts, one per query, not one text"
                raise TypeError(msg)
            given = [None] * len(texts) if contexts is None else list(contexts)
            if len(given) != len(texts):
                msg = f"{name} got {len(texts):,} queries but {len(given):,} contexts"
                raise ValueError(msg)
            pairs = zip(texts, given, strict=True)
            items = [
                self._item(told, prompt=query, context=_checked_context(name, context))
                for query, context in pairs
            ]
            return self._many(name, "rlm_query", items, schema)

        return rlm_query_batch

    def _tool(self, name: str, spec: dict[str, Any]) -> Callable[..., Any]:
        """Make a real function, so that signature and help are those of the tool."""

        def run(arguments: dict[str, Any]) -> Any:
            args = {key: value for key, value in arguments.items() if value is not ...}
            return self._one(name, "tool", {"args": args})

        parameters = sorted(spec["parameters"], key=lambda parameter: not parameter["required"])
        heads = []
        scope: dict[str, Any] = {"run": run, "defaults": {}, "__name__": "__main__"}
        for parameter in parameters:
            key = parameter["name"]
            if not (name.isidentifier() and key.isidentifier()):
                msg = f"the tool {name!r} has names that are not Python's"
                raise ValueError(msg)
            scope["defaults"][key] = ... if parameter["default"] is None else parameter["default"]
            hint = f": {parameter['annotation']!r}" if parameter["annotation"] else ""
            heads.append(f"{key}{hint}" + ("" if parameter["required"] else f"=defaults[{key!r}]"))
        pairs = ", ".join(f"{p['name']!r}: {p['name']}" for p in parameters)
        source = f"def {name}({', '.join(heads)}):\n    return run({{{pairs}}})\n"
        exec(compile(source, __file__, "exec"), scope)  # noqa: S102 - names were checked above
        function: Callable[..., Any] = scope[name]
        return function

    def _tool_call(self, _name: str, _spec: dict[str, Any]) -> Callable[..., Any]:
        def TOOL_CALL(name: str, /, **arguments: object) -> None:  # noqa: N802 - as `FINAL`
            """End the cell and the turn: ask the application to run one of its tools."""
            self._accept({"TOOL_CALLS": [[name, arguments]]})
            self._leave()

        return TOOL_CALL

    def _tool_calls(self, _name: str, _spec: dict[str, Any]) -> Callable[..., Any]:
        def TOOL_CALLS(calls: Sequence[Any]) -> None:  # noqa: N802 - as `FINAL`
            """End the cell and the turn: ask the application to run several of its tools."""
            self._accept({"TOOL_CALLS": [[name, arguments] for name, arguments in calls]})
            self._leave()

        return TOOL_CALLS

    # Imports and builtins.

    def _builtins(self) -> dict[str, Any]:
        made = dict(vars(builtins))
        for name, (error, message) in self.policy["refused_builtins"].items():
            made[name] = _refusal(name, getattr(builtins, error), message)
        made["__import__"] = self._import
        if "help" not in made:
            made["help"] = _help
        if self.in_process:
            made["print"] = self._print
        return made

    def _print(self, *values: object, file: Any = None, **options: Any) -> None:
        """Print to the output of the cell, or to `file`."""
        builtins.print(*values, file=self.console if file is None else file, **options)

    def _import(
        self,
        name: str,
        globals: Any = None,  # noqa: A002 - the signature of __import__
        locals: Any = None,  # noqa: A002
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        # C code (`datetime.strptime`) imports its helpers through the globals of the cell; it
        # passes a list where a cell's `import` passes a tuple or None.
        is_ours = globals is None or globals is self.names
        if not is_ours or level or type(fromlist) is list:
            return builtins.__import__(name, globals, locals, fromlist, level)
        wanted = tuple(fromlist or ())
        if name in self._reserved and name not in sys.stdlib_module_names:
            if not wanted:
                return self._reserved[name]
            msg = f"`{name}` is a name of this REPL, not a module; use it without importing"
            raise ImportError(msg)
        if name == "sys" and (self.in_process or self.policy["sys_names"] is not None):
            return self._sys
        if (
            wanted
            and name.partition(".")[0] not in sys.stdlib_module_names
            and set(wanted) <= (self._reserved.keys())
        ):
            # `from rlm import llm_query`: the objects are here already.
            return _SysView.holder(name, {key: self._reserved[key] for key in wanted})
        self._check_import(name, wanted)
        module = builtins.__import__(name, globals, locals, fromlist, level)
        self._notice_modules()
        return module

    def _check_import(self, name: str, wanted: tuple[str, ...]) -> None:
        allowed = self.policy["modules"]
        if allowed is None:
            return

        def is_allowed(dotted: str) -> bool:
            return any(dotted == entry or dotted.startswith(entry + ".") for entry in allowed)

        if is_allowed(name):
            return
        is_parent = any(entry.startswith(name + ".") for entry in allowed)
        refused = [f"{name}.{item}" for item in wanted if not is_allowed(f"{name}.{item}")]
        if is_parent and not refused:
            return
        what = refused[0] if is_parent else name
        msg = f"import of `{what}` is not possible here. {self.policy['import_advice']}"
        raise ImportError(msg)

    def _notice_modules(self) -> None:
        """Do what a module needs once it is there: seeds, sources for tracebacks."""
        modules = sys.modules
        if not self.in_process:
            # The host's own random numbers are not ours to seed.
            for name in ("random", "numpy.random"):
                if name in modules and name not in self._seeded:
                    seed = getattr(modules[name], "seed", None)
                    if seed is not None:
                        self._seeded.add(name)
                        seed(self._seed % 2**32)
            threading = modules.get("threading")
            if threading is not None:
                threading.excepthook = self._thread_failed  # type: ignore[attr-defined]
        linecache = modules.get("linecache")
        if linecache is not None and self._registered != self._count:
            self._registered = self._count
            for filename, lines in self._sources.items():
                entry = (0, None, [line + "\n" for line in lines], filename)
                linecache.cache[filename] = entry

    def _thread_failed(self, args: Any) -> None:
        if args.exc_value is not None and not isinstance(
            args.exc_value, SubmittedError | SystemExit
        ):
            self.console.write(f"In a thread: {self._error_text(args.exc_value)}\n")

    def _unraisable(self, args: Any) -> None:
        # Python's own text names files of the host.
        self.console.write(f"Ignored in a destructor: {self._error_text(args.exc_value)}\n")


class _SysView(ModuleType):
    """What `import sys` gives to a cell: the writers of the cell, and harmless facts."""

    def __init__(self, console: text.Console, names: Sequence[str] | None) -> None:
        super().__init__("sys")
        self.__dict__["_names"] = None if names is None else frozenset(names)
        self.__dict__["_console"] = console
        self.__dict__["argv"] = [""]

    @staticmethod
    def holder(name: str, members: dict[str, Any]) -> ModuleType:
        """Make a module that holds just these members."""
        module = ModuleType(name)
        module.__dict__.update(members)
        return module

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__["_names"]
        if name in ("stdout", "stderr"):
            # With all names real, this is the host's process, whose own stdout is not for cells.
            return self.__dict__["_console"] if names is None else getattr(sys, name)
        if names is None or name in names:
            return getattr(sys, name)
        if name == "exit":
            msg = "sys.exit is not available; submit the answer with FINAL(...)"
            raise AttributeError(msg)
        msg = f"sys.{name} is not available here"
        raise AttributeError(msg)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("stdout", "stderr") and self.__dict__["_names"] is not None:
            setattr(sys, name, value)
        else:
            super().__setattr__(name, value)


def _tree(filename: str, code: str) -> Any:
    """Parse a cell. CPython 3.11 miscounts when other threads parse, as they may in mode "none"."""
    for _ in range(MAX_MISCOUNTS):
        try:
            return compile(code, filename, "exec", ONLY_AST | TOP_LEVEL_AWAIT, dont_inherit=True)
        except SystemError:
            continue
    msg = "the cell could not be parsed; run it again"
    raise SyntaxError(msg)


def _compile(filename: str, code: str) -> tuple[CodeType | None, CodeType | None, bool]:
    """Compile a cell into its body and its last expression, and say whether that is echoed."""
    tree = _tree(filename, code)
    last: Any = tree.body[-1] if tree.body else None
    if type(last).__name__ != "Expr":
        return compile(tree, filename, "exec", TOP_LEVEL_AWAIT, dont_inherit=True), None, False
    import _ast  # noqa: PLC0415 - `ast` itself is expensive

    tree.body.pop()
    body = None
    if tree.body:
        body = compile(tree, filename, "exec", TOP_LEVEL_AWAIT, dont_inherit=True)
    expression = _ast.Expression(body=last.value)
    final = compile(expression, filename, "eval", TOP_LEVEL_AWAIT, dont_inherit=True)
    line = code.encode("utf-8").split(b"\n")[last.end_lineno - 1]
    is_echoed = not line[last.end_col_offset :].lstrip().startswith(b";")
    return body, final, is_echoed


def _blank_report(cell_id: str, error: str | None) -> dict[str, Any]:
    return {
        "type": "done",
        "id": cell_id,
        "status": "ok" if error is None else "error",
        "output_head": "",
        "output_tail": "",
        "output_chars": 0,
        "error": error,
        "changed": {},
        "removed": [],
        "answer": None,
    }


def _as_own(function: F) -> F:
    function.__module__ = "__main__"
    function.__qualname__ = function.__name__
    return function


def _failure(result: dict[str, Any]) -> str:
    error: str = result["error"] if "error" in result else result["refused"]
    return error


def _wrapped(value: Any) -> Any:
    if type(value) is str:
        return text.Reply(value)
    return text.Replies(value) if type(value) is list else value


def _check_prompt(name: str, prompt: object) -> None:
    if isinstance(prompt, str):
        return
    if isinstance(prompt, list | tuple):
        kind = text.type_name(prompt)
        msg = f"{name} takes one text, not a {kind}; for many texts use the batch function"
    else:
        msg = f"{name} takes a text (str), not {text.type_name(prompt)}; convert it with str(...)"
    raise TypeError(msg)


def _check_model(name: str, model: object) -> None:
    if model is not None and not isinstance(model, str):
        msg = f"{name}: model must be a name (str), not {text.type_name(model)}"
        raise TypeError(msg)


def _checked_prompts(name: str, prompts: Any) -> list[str]:
    if isinstance(prompts, str | bytes | dict) or not hasattr(prompts, "__iter__"):
        msg = f"{name} takes a list of texts, not {text.type_name(prompts)}"
        raise TypeError(msg)
    found = list(prompts)
    for index, prompt in enumerate(found):
        if not isinstance(prompt, str):
            msg = f"{name}: item {index} is {text.type_name(prompt)}, not a text (str)"
            raise TypeError(msg)
    return found


def _checked_context(name: str, context: Any) -> str | list[str] | None:
    if context is None or isinstance(context, str):
        return context
    if isinstance(context, list | tuple) and all(isinstance(item, str) for item in context):
        return list(context)
    msg = f"{name}: context must be a text or a list of texts, not {text.type_name(context)}"
    raise TypeError(msg)


def _refusal(name: str, error: type[Exception], message: str) -> Callable[..., Any]:
    def refuse(*_args: object, **_kwargs: object) -> Any:
        raise error(message)

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = message
    refuse.__module__ = "builtins"
    return refuse


def _help(subject: object = None) -> None:
    """Print the documentation of an object."""
    import pydoc  # noqa: PLC0415 - rarely used

    print(pydoc.render_doc(subject, renderer=pydoc.plaintext))  # type: ignore[attr-defined]  # noqa: T201
