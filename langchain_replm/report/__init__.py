"""A run as one HTML page that needs no network, and as a small card for notebooks.

The page holds the record as JSON and draws it in the browser, so that a run of any size opens at
once. A record is hostile text: it holds what models, tools and contexts said. Three walls stand
between it and the reader's browser. The JSON has no `<`, so it cannot end its element; the scripts
put text into the page through text nodes only; and the page's own policy allows no script, style or
request but the ones whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

SCRIPTS = ("text.js", "model.js", "timeline.js", "steps.js", "app.js")
CARD_CHARS = 2_000
"""Characters of question and answer that the card of a notebook shows."""
FRAME_BYTES = 8_000_000
"""A notebook keeps what it shows; a larger report belongs into a file of its own."""
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def render(record: str, *, query: str, answer: str, stop_reason: str) -> str:
    """The page of a run.

    Args:
        record: The response as JSON text, without its `history`.
        query: What was asked, for the title and for browsers that run no script.
        answer: What came out, for browsers that run no script.
        stop_reason: Why the run ended, likewise.
    """
    page, style, script, policy = _parts()
    data = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", record)
    return page.substitute(
        policy=policy,
        title=_text("RLM run: " + " ".join(query.split())[:80]),
        style=style,
        script=script,
        plain=_card(query, answer, stop_reason),
        data=data,
    )


def write(page: str, path: str | Path) -> Path:
    """Put a page into a file and return where it is."""
    target = Path(path)
    target.write_text(page, encoding="utf-8")
    return target


def card(page: str, *, query: str, answer: str, stop_reason: str) -> str:
    """What a notebook shows: question and answer, and the whole report in a frame of its own.

    The frame runs scripts, but as a stranger: it reaches neither the notebook nor its kernel. Where
    frames are not shown (exports, code hosts), question and answer are still there.
    """
    shown = _card(query, answer, stop_reason)
    if len(page.encode()) > FRAME_BYTES:
        return (
            shown + "<p>The report of this run is large: <code>response.to_html(path)</code>.</p>"
        )
    frame = (
        f'<iframe sandbox="allow-scripts" srcdoc="{escape(page)}" title="RLM run" loading="lazy" '
        'style="width: 100%; height: 640px; border: 1px solid #8888; border-radius: 8px"></iframe>'
    )
    return f"{shown}<details><summary>The run, step by step</summary>{frame}</details>"


def _card(query: str, answer: str, stop_reason: str) -> str:
    return (
        f"<p><strong>Question:</strong> {_text(query[:CARD_CHARS])}</p>"
        f"<p><strong>Answer:</strong> {_text(answer[:CARD_CHARS]) or '<em>none</em>'}</p>"
        f"<p><strong>Ended:</strong> {_text(stop_reason)}</p>"
    )


def _text(text: str) -> str:
    """Text for markup; a lone surrogate is no text."""
    return escape(text.encode("utf-8", "replace").decode())


@cache
def _parts() -> tuple[Template, str, str, str]:
    here = files(__name__)
    style = here.joinpath("style.css").read_text(encoding="utf-8")
    # Each file of its own scope would need modules, which a page without requests cannot have.
    script = "".join(here.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = Template(here.joinpath("page.html").read_text(encoding="utf-8"))
    return page, style, script, policy


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
