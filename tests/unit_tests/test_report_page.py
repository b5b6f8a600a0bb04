"""The report as text: what is in the file before a browser draws it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path

from langchain_replm import RLMResponse, report
from langchain_replm.types import Iteration

NASTY = "</script><!--<script>&amp;\u2028\u2029\u202e\ud800 $title ${data} \\"


def response(**fields: object) -> RLMResponse:
    common = {
        "answer": "42", "stop_reason": "answered", "iterations": 1, "sub_calls": 0,
        "total_input_tokens": 1, "total_output_tokens": 2, "query": "What?",
        "trajectory": (Iteration(number=1, reply="FINAL(42)"),),
    }  # fmt: skip
    return RLMResponse.model_validate({**common, **fields})


def page_of(one: RLMResponse, tmp_path: Path) -> str:
    path = one.to_html(tmp_path / "run.html")
    assert path == tmp_path / "run.html"
    return path.read_text(encoding="utf-8")


def test_the_page_holds_the_whole_record_once(tmp_path: Path) -> None:
    one = response(answer="a <b> & \u2028 c", repl_variables={"n": "int: 2"})
    page = page_of(one, tmp_path)
    [data] = re.findall(r'<script type="application/json" id="run">(.*?)</script>', page, re.DOTALL)
    assert not set("<>&\u2028\u2029") & set(data)
    assert RLMResponse.model_validate(json.loads(data)) == one
    assert "history" not in json.loads(data), "it is made of the trajectory; twice is too much"


def test_the_policy_names_the_hashes_of_what_is_there(tmp_path: Path) -> None:
    page = page_of(response(), tmp_path)
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    style, script = (
        re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[-1] for tag in ("style", "script")
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for name, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"


def test_nothing_in_the_page_comes_from_elsewhere(tmp_path: Path) -> None:
    page = page_of(response(), tmp_path)
    assert not re.search(r"https?://|\bsrc=|@import|url\(", page)


def test_scripts_make_no_markup_of_strings() -> None:
    folder = Path(report.__file__).parent
    for name in report.SCRIPTS:
        text = (folder / name).read_text()
        for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(",
                          "Function(", "DOMParser", "fetch(", "XMLHttp", "import("):  # fmt: skip
            assert forbidden not in text


def test_what_is_outside_of_the_data_is_escaped(tmp_path: Path) -> None:
    text = NASTY.replace("\ud800", "")  # a response refuses to be written with it
    page = page_of(response(query=text, answer=text), tmp_path)
    assert page.count("<script>") == 1
    assert page.count("</script>") == 2
    assert f"<strong>Question:</strong> {escape(text)}</p>" in page
    title = re.findall("<title>(.*?)</title>", page, re.DOTALL)
    assert title == [escape("RLM run: " + " ".join(text.split()))]


def test_a_lone_surrogate_does_not_stop_the_report() -> None:
    page = report.render('{"answer": "\ud800"}', query=NASTY, answer="\ud800", stop_reason="x")
    assert page.encode("utf-8")
    assert '{"answer": "\\ud800"}' in page


def test_a_notebook_gets_a_frame_that_is_a_stranger() -> None:
    card = response(answer="<script>alert(1)</script>")._repr_html_()
    assert "<script" not in card
    [sandbox] = re.findall(r'<iframe sandbox="([^"]*)"', card)
    assert sandbox == "allow-scripts"


def test_a_large_report_does_not_fill_the_notebook() -> None:
    one = response(query="q" * 100_000, answer="x" * report.FRAME_BYTES)
    card = one._repr_html_()
    assert "iframe" not in card
    assert "to_html" in card
    assert len(card) < 3 * report.CARD_CHARS
