"""The report in a real browser: what it tells, that no text of a run gets power over it, its keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from langchain_replm import RLMResponse, read_trajectories
from langchain_replm.state import make_response
from langchain_replm.types import (
    Answer,
    Candidate,
    Cell,
    ContextSummary,
    HostCall,
    Iteration,
    SubCall,
    Summary,
)
from tests.browser import FLAGS, find_browser
from tests.integration_tests.test_report import a_run

expect.set_options(timeout=15_000)  # a busy machine


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program, reason = find_browser()
    if program is None:
        pytest.skip(reason)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield launched
        launched.close()


class Opened:
    """A page with a report, and everything suspicious that happened on it."""

    def __init__(self, browser: Browser, path: Path, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.trouble: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: self.trouble.append(f"dialog {dialog.message}"))
        self.page.on("pageerror", lambda error: self.trouble.append(f"error {error}"))
        self.page.on("console", lambda said: self.trouble.append(f"console {said.text}"))
        self.context.on("page", lambda opened: self.trouble.append(f"window {opened.url}"))
        self.page.goto(path.as_uri())
        self.path = path

    def ready(self) -> Page:
        expect(self.page.locator("html[data-ready=yes]")).to_be_attached()
        return self.page

    def is_clean(self) -> None:
        assert self.trouble == []
        assert set(self.requests) == {self.path.as_uri()}


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    pages: list[Opened] = []

    def open_report(response: RLMResponse, **context: Any) -> Opened:
        path = response.to_html(tmp_path / f"run{len(pages)}.html")
        pages.append(Opened(browser, path, **context))
        return pages[-1]

    yield open_report
    for page in pages:
        page.context.close()


def open_every_fold(page: Page) -> None:
    """Open folds until no closed one is left; drawing one may bring others."""
    for _ in range(12):
        closed = "details:not([open]) > summary"
        if not page.evaluate(f"document.querySelectorAll('{closed}').length"):
            return
        page.evaluate(f"document.querySelectorAll('{closed}').forEach((one) => one.click())")
        page.wait_for_timeout(30)
    pytest.fail("folds without end")


def priced() -> RLMResponse:
    """A run with two steps, a batch with a failure, and a cost."""
    usage: Any = {"input_tokens": 1000, "output_tokens": 20, "total_tokens": 1020}
    calls = tuple(
        SubCall(
            kind="llm_query", prompt=f"prompt {n}", prompt_chars=9, model="small",
            status="failed" if n == 7 else "ok", response="" if n == 7 else f"reply {n}",
            error="RuntimeError: overloaded" if n == 7 else None, sub_calls=1,
            usage={} if n == 7 else {"small": usage}, started_seconds=1 + n / 100,
            elapsed_seconds=0.5,
        )
        for n in range(120)
    )  # fmt: skip
    first = Cell(
        code="parts = llm_query_batch(prompts)  # ask about every part", status="ok",
        output_head="120 parts\n", output_chars=10, changed={"parts": "list, 120 items"},
        host_calls=(HostCall(function="llm_query_batch", request_sha256="0" * 64, items=calls),),
        started_seconds=1.0, elapsed_seconds=0.1, total_seconds=3.0,
    )  # fmt: skip
    last = Cell(
        code="FINAL(len(parts))", status="ok", answer=Answer(text="120", is_json=True),
        started_seconds=5.0, elapsed_seconds=0.1, total_seconds=0.1,
    )  # fmt: skip
    return RLMResponse(
        answer="120",
        stop_reason="answered",
        query="How many parts are there?",
        context=ContextSummary(sha256="ab" * 32, kind="str", items=1, chars=1_000_000),
        iterations=2,
        sub_calls=120,
        total_input_tokens=120_800,
        total_output_tokens=2_440,
        cost=0.0123,
        elapsed_seconds=5.2,
        usage_by_model={"small": usage},
        repl_variables={"parts": "list, 120 items"},
        trajectory=(
            Iteration(
                number=1, model="big", usage=usage, cells=(first,), elapsed_seconds=1.0,
                reply="I ask about each part.\n```repl\n" + first.code + "\n```",
                observation="Output:\n120 parts",
            ),
            Iteration(
                number=2, model="big", usage=usage, cells=(last,), started_seconds=4.0,
                elapsed_seconds=1.0, reply="```repl\nFINAL(len(parts))\n```",
            ),
        ),
    )  # fmt: skip


def test_the_report_says_why_and_what_it_cost(opened: Any) -> None:
    page = opened(priced())
    told = page.ready().inner_text("#verdict")
    for text in (
        "How many parts are there?",
        "120",
        "answered",
        "the root model gave its answer",
        "$0.0123",
        "123,240",
        "5.20 s",
        "1,000,000",
        "The answer was submitted by Iteration 2, cell 1",
        "FINAL(len(parts))",
        "parts was made in Iteration 1, cell 1 with 120 calls",
    ):
        assert text in told
    page.page.get_by_text("I ask about each part.").first.click()
    step = page.page.locator("details.step").first
    expect(step).to_contain_text("ask about every part")
    expect(step.locator(".py-comment")).to_have_text("# ask about every part")
    expect(step).to_contain_text("1 failed or refused")
    step.locator("details.group > summary").click()
    expect(step).to_contain_text("1 to 50 of 120")
    step.get_by_text("Later").click()
    expect(step).to_contain_text("51 to 100 of 120")
    step.get_by_text("prompt 60").click()
    expect(step.locator("details.item[open]")).to_contain_text("reply 60")
    page.is_clean()


def test_a_real_run_with_children_reads_from_end_to_end(opened: Any) -> None:
    page = opened(a_run())
    page.ready()
    open_every_fold(page.page)
    expect(page.page.locator("#children")).to_contain_text("child?")
    expect(page.page.locator("#iterations details.step details.step")).to_have_count(2)
    expect(page.page.locator("#iterations")).to_contain_text("I look at the start.")
    page.is_clean()


SUMS = """() => {
    const sums = { input: 0, output: 0, cost: 0, calls: 0 };
    for (const step of APP.tree.steps) {
        const spent = spentOn(step.record);
        for (const name of Object.keys(sums)) sums[name] += spent[name];
    }
    return sums;
}"""


def test_the_numbers_of_the_page_are_those_of_the_response(opened: Any, tmp_path: Path) -> None:
    """Notes of older turns, children, failures: everything that has cost something is in a step."""
    notes = Summary(text="what was found", through=1, model="root", cost_usd=0.25,
                    usage={"input_tokens": 11, "output_tokens": 7, "total_tokens": 18})  # fmt: skip
    real = a_run(tmp_path / "run.jsonl")
    first, second, *rest = real.trajectory
    response = make_response(
        {
            "trajectory": [step.model_dump() for step in
                           (first, second.model_copy(update={"summary": notes}), *rest)],
            "answer": real.answer, "stop_reason": real.stop_reason,
        }
    )  # fmt: skip
    [recorded] = read_trajectories(tmp_path / "run.jsonl")
    assert recorded.response == real
    page = opened(response).ready()
    sums = page.evaluate(SUMS)
    assert sums["input"] == response.total_input_tokens == real.total_input_tokens + 11
    assert sums["output"] == response.total_output_tokens == real.total_output_tokens + 7
    assert sums["calls"] == response.sub_calls
    assert sums["cost"] == pytest.approx(response.cost)
    tables = page.locator(".tables table")
    rows = dict(
        row.split("\t", 1) for row in tables.nth(1).locator("tbody").inner_text().splitlines()
    )
    assert rows["Sum"].startswith(
        f"{response.total_input_tokens:,}\t{response.total_output_tokens:,}\t$"
    )
    for name, usage in response.usage_by_model.items():
        assert f"{name}\t{usage['input_tokens']:,}\t" in tables.nth(0).inner_text()
    page.locator("details.step").nth(1).locator("summary").first.click()
    expect(page.locator("details.step").nth(1)).to_contain_text(
        "made notes of the iterations up to 1"
    )


def test_of_several_candidates_the_chosen_one_explains_the_answer(opened: Any) -> None:
    real = a_run()
    other = Candidate(answer="no", stop_reason="errors", trajectory=real.trajectory[:1])
    chosen = Candidate(
        answer=real.answer, stop_reason="answered", chosen=True, trajectory=real.trajectory
    )
    step = Iteration(number=1, candidates=(other, chosen))
    response = make_response(
        {"trajectory": [step.model_dump()], "answer": real.answer, "stop_reason": "answered"}
    )
    page = opened(response).ready()
    sums = page.evaluate(SUMS)
    assert (sums["input"], sums["output"]) == (
        response.total_input_tokens, response.total_output_tokens,
    )  # fmt: skip
    assert sums["cost"] == pytest.approx(response.cost)
    expect(page.locator("#verdict")).to_contain_text("Candidate 2 › iteration 3, cell 1")
    page.locator("#verdict .origin button").first.click()
    expect(page.locator("details.group[open]").first).to_contain_text("chosen")
    expect(page.locator("details.step details.step[open]")).to_contain_text(
        "Submitted as the answer"
    )


# -- hostile text ----------------------------------------------------------------------------------

ATTACKS = [
    "<script>window.pwned = '{n}'</script>",
    "</script><script>window.pwned = '{n}'</script>",
    "<!--<script>{n}</script>--><img src=x onerror=\"window.pwned='{n}'\">",
    '"><svg onload="window.pwned=\'{n}\'"><a href="javascript:window.pwned=\'{n}\'">{n}</a>',
    "</pre></details></style><iframe srcdoc=\"<script>parent.pwned='{n}'</script>\"></iframe>",
    "<link rel=stylesheet href=http://127.0.0.1:9/{n}><img src=http://127.0.0.1:9/{n}>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/{n}'><base href=http://127.0.0.1:9/>",
    "{n}\u2028window.pwned = 1\u2029\u202egnol si siht\u2066 \u200b\ufeff\x00\x1b[31m",
    "__proto__ constructor ${{window.pwned='{n}'}} `{n}` \\u003cscript\\u003e ]]> &lt;b&gt; {n}",
]


class Hostile:
    """Each call gives the next attack, with a number of its own."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self) -> str:
        attack = ATTACKS[len(self.made) % len(ATTACKS)]
        self.made.append(attack.replace("{n}", f"no{len(self.made)}x").replace("{{", "{"))
        return self.made[-1]


def hostile_response(bad: Hostile) -> RLMResponse:
    usage: Any = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}

    def call(child: tuple[Iteration, ...] = (), **fields: Any) -> SubCall:
        return SubCall(
            **{
                "kind": "llm_query", "prompt": bad(), "prompt_chars": 9_000_000, "status": "ok",
                "response": bad(), "model": bad(), "child": child,
                "started_seconds": 1.0, "elapsed_seconds": 1.0, "sub_calls": 1, **fields,
            }
        )  # fmt: skip

    def cell(*calls: SubCall, **fields: Any) -> Cell:
        host = HostCall(function=bad(), request_sha256="0", items=calls)
        return Cell(
            **{
                "code": bad(), "status": "ok", "output_head": bad(), "output_tail": bad(),
                "output_chars": 10_000, "changed": {bad(): bad(), "__proto__": bad()},
                "removed": (bad(),), "host_calls": (host,), "started_seconds": 1.0, **fields,
            }
        )  # fmt: skip

    def step(number: int, *cells: Cell, **fields: Any) -> Iteration:
        return Iteration(
            **{
                "number": number, "reply": bad(), "model": bad(), "usage": usage, "cells": cells,
                "observation": bad(), "elapsed_seconds": 0.5, **fields,
            }
        )  # fmt: skip

    every = [cell(call()) for _ in ATTACKS]
    child = (step(1, cell(call()), *every),)
    failed = {"status": "failed", "error": bad(), "response": ""}
    return RLMResponse(
        answer=bad(),
        stop_reason="answered",
        query=bad(),
        context=ContextSummary(sha256=bad(), kind="list", items=3, chars=5, head=bad(), tail=bad()),
        iterations=3,
        sub_calls=9,
        total_input_tokens=1,
        total_output_tokens=1,
        usage_by_model={bad(): usage, "__proto__": usage},
        repl_variables={bad(): bad()},
        sandbox_missing=(bad(),),
        trajectory=(
            step(1, *every),
            step(2, cell(call(child), call(**failed), call()), cell(call(child))),
            step(3, error=bad(), reply=""),
            step(3, held=bad(), summary=Summary(text=bad(), through=1)),
            step(4, cell(status="error", error=bad(), answer=Answer(text=bad()))),
        ),
    )


def test_no_text_of_a_run_gets_power_over_the_page(opened: Any) -> None:
    response = hostile_response(Hostile())
    page = opened(response)
    page.ready()
    open_every_fold(page.page)
    for needle in ("no1x", "<script>", "\u2028", "__proto__"):
        page.page.fill("#search", needle)
        expect(page.page.locator("#hits li").first).to_be_visible()
    page.page.focus("canvas")
    for _ in range(40):
        page.page.keyboard.press("ArrowRight")
    assert page.page.evaluate("window.pwned") is None
    assert page.page.evaluate("({}).pwned") is None
    kinds = page.page.evaluate(
        "[...new Set([...document.querySelectorAll('*')].map((e) => e.localName))]"
    )
    assert not {"img", "iframe", "svg", "link", "base", "object", "b"} & set(kinds)
    assert page.page.evaluate("document.scripts.length") == 2
    assert page.page.evaluate("document.querySelectorAll('#page [href], #page [src]').length") == 0
    # It is all there to read: nothing was dropped to be safe.
    read = page.page.evaluate("document.getElementById('page').textContent")
    recorded = set(re.findall(r"no\d+x", response.model_dump_json(exclude={"history"})))
    assert len(recorded) > 100
    assert recorded - set(re.findall(r"no\d+x", read)) == set()
    assert "\u202e" not in page.page.inner_text("#page")
    assert "U+202E" in page.page.inner_text("#page")
    page.is_clean()


def test_the_policy_of_the_page_stops_what_would_get_in(opened: Any) -> None:
    """The second wall, tried without the first one."""
    page = opened(priced()).ready()
    page.evaluate(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "window.pwned = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", '<img src="x" onerror="window.pwned = 2">');
            document.body.insertAdjacentHTML("beforeend", "<style>body { color: red }</style>");
            window.reached = await fetch("http://127.0.0.1:9/").then(() => true, () => false);
        }"""
    )
    page.wait_for_timeout(100)
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("window.reached") is False
    assert page.evaluate("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"


# -- hands and eyes --------------------------------------------------------------------------------


def test_everything_is_reached_by_keyboard(opened: Any) -> None:
    page = opened(priced()).ready()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("reply 119")
    expect(page.locator("#hits li")).to_have_count(1)  # the words may come in with pauses
    hit = page.locator("#hits button")
    expect(hit).to_have_text("Iteration 1, cell 1, llm_query_batch 120 of 120: reply")
    page.keyboard.press("Tab")  # the theme button
    page.keyboard.press("Tab")
    expect(hit).to_be_focused()
    page.keyboard.press("Enter")
    item = page.locator("details.item[open]")
    expect(item).to_contain_text("prompt 119")
    expect(item.locator("summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("details.item[open]")).to_have_count(0)
    page.focus("canvas")
    page.keyboard.press("End")
    expect(page.locator("#tl-say")).to_contain_text("Iteration 2, cell 1")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("+")
    page.keyboard.press("Enter")
    expect(page.locator("details.step[open]").nth(1)).to_contain_text("Submitted as the answer")
    page.focus("#search")
    page.keyboard.press("Escape")
    expect(page.locator("#hits")).to_be_hidden()


def test_the_timeline_answers_to_the_pointer(opened: Any) -> None:
    page = opened(priced(), viewport={"width": 1000, "height": 800}).ready()
    canvas = page.locator("canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.hover(position={"x": box["width"] * 0.5 / 5.2, "y": 28})
    expect(page.locator("#tl-say")).to_contain_text("Iteration 1 · 1.00 s, from 0 ms · big")
    canvas.click(position={"x": box["width"] * 4.5 / 5.2, "y": 28})
    expect(page.locator("details.step").nth(1)).to_have_attribute("open", "")
    page.get_by_label("Zoom in").click()
    page.get_by_label("Show the whole run").click()


def brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)))


def test_light_and_dark(opened: Any) -> None:
    page = opened(priced(), color_scheme="dark").ready()
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.locator("#theme").click()
    light = page.evaluate(colour)
    assert brightness(dark) < 150
    assert brightness(light) > 600
    page.reload()
    expect(page.locator("#theme")).to_have_text("Theme: light")
    assert page.evaluate(colour) == light


def test_a_narrow_screen_is_not_wider_than_itself(opened: Any) -> None:
    page = opened(a_run(), viewport={"width": 360, "height": 700}).ready()
    open_every_fold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_scripts_question_and_answer_are_there(opened: Any) -> None:
    page = opened(priced(), java_script_enabled=False)
    expect(page.page.get_by_text("How many parts are there?")).to_be_visible()


def test_a_notebook_shows_the_report_as_a_stranger(browser: Browser, tmp_path: Path) -> None:
    bad = Hostile()
    cards = (priced()._repr_html_(), hostile_response(bad)._repr_html_())
    path = tmp_path / "notebook.html"
    path.write_text("<!doctype html><meta charset=utf-8>" + "".join(cards), encoding="utf-8")
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    for fold in page.locator("details").all():
        fold.locator("summary").click()
    inside = page.frame_locator("iframe").first
    expect(inside.locator("html[data-ready=yes]")).to_be_attached()
    expect(inside.locator("#verdict")).to_contain_text("$0.0123")
    expect(page.frame_locator("iframe").nth(1).locator("html[data-ready=yes]")).to_be_attached()
    assert page.evaluate("window.pwned") is None
    reached = page.frames[1].evaluate(
        "(() => { try { return parent.document.title } catch { return null } })()"
    )
    assert reached is None
    context.close()


def large_response() -> RLMResponse:
    """500 iterations and 10,000 sub-calls with prompts as long as they are recorded."""
    prompt = "p" * 2_000

    def call(n: int) -> SubCall:
        return SubCall(
            kind="llm_query", prompt=f"{n} {prompt}"[:2_000], prompt_chars=9_000, status="ok",
            response=f"reply number {n}", sub_calls=1, started_seconds=n / 10, elapsed_seconds=0.9,
        )  # fmt: skip

    def step(number: int) -> Iteration:
        calls = tuple(call(20 * (number - 1) + n) for n in range(20))
        host = HostCall(function="llm_query_batch", request_sha256="", items=calls)
        code = f"r = llm_query_batch(prompts[{number}])"
        cell = Cell(code=code, status="ok", host_calls=(host,), started_seconds=number * 2)
        return Iteration(number=number, reply=f"Step {number}.", cells=(cell,), elapsed_seconds=0.5)

    return RLMResponse(
        answer="done", stop_reason="answered", query="?", iterations=500, sub_calls=10_000,
        total_input_tokens=0, total_output_tokens=0, elapsed_seconds=1_000.0,
        trajectory=tuple(step(number) for number in range(1, 501)),
    )  # fmt: skip


def test_a_large_run_draws_only_what_is_looked_at(opened: Any) -> None:
    page = opened(large_response())
    page.ready()
    assert page.page.evaluate("document.querySelectorAll('*').length") < 10_000
    page.page.fill("#search", "reply number 9999")
    page.page.locator("#hits button").click()
    expect(page.page.locator("details.item[open]")).to_contain_text("reply number 9999")
    assert page.page.evaluate("document.querySelectorAll('*').length") < 10_000
    page.is_clean()
