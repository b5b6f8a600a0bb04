"""The site builds strictly, asks no other host for anything, and has every public name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from langchain_core.language_models import BaseChatModel

import langchain_replm
from langchain_replm import evals, progress, sandbox, testing
from tests.browser import FLAGS, find_browser

ROOT = Path(__file__).parents[2]
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
OTHER_HOST = re.compile(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", re.IGNORECASE)
ELSEWHERE = {"langchain_replm.middleware.LongResultsMiddleware"}


class Page(HTMLParser):
    """What a page fetches by itself, where its links lead, and which anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag in FETCHED:
            self.fetched.append(values.get(FETCHED[tag], ""))
        elif tag == "link" and values.get("rel") not in {"canonical", "prev", "next"}:
            self.fetched.append(values.get("href", ""))
        elif tag == "a" and "href" in values:
            self.links.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", place],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def test_no_page_fetches_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 25
    for path, page in pages.items():
        others = [target for target in page.fetched if urlsplit(target).netloc]
        assert not others, f"{path.name} fetches {others}"
    for path in [*site.rglob("*.css"), *site.rglob("*.html")]:
        assert not OTHER_HOST.search(path.read_text()), path


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":  # served for any address, so its links are absolute
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert place.exists(), f"{path.relative_to(site)} -> {link}"
            if parts.fragment and place in pages:
                anchors = pages[place].anchors
                assert unquote(parts.fragment) in anchors, f"{path.relative_to(site)} -> {link}"


def test_every_public_name_has_its_place(site: Path) -> None:
    there = documented(site)
    packages = (langchain_replm, sandbox, testing, progress, evals)
    public = {f"{package.__name__}.{name}" for package in packages for name in all_of(package)}
    assert len(public) > 40
    assert not (public | ELSEWHERE) - there


def documented(site: Path) -> set[str]:
    """Names in the inventory: four lines of header, then compressed lines that begin with one."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    return {line.split(" ", 1)[0] for line in zlib.decompress(inventory).decode().splitlines()}


@pytest.mark.parametrize("name", ["RLM", "RLMChatModel", "RLMConfig", "ModelPrice", "RLMResponse"])
def test_every_field_has_its_place(site: Path, name: str) -> None:
    inherited = set(BaseChatModel.model_fields) if name == "RLMChatModel" else {"name"}
    fields = set(getattr(langchain_replm, name).model_fields) - inherited
    missing = fields - {item.rpartition(".")[2] for item in documented(site) if f".{name}." in item}
    assert not missing


def all_of(package: object) -> list[str]:
    return list(getattr(package, "__all__", ()))


def test_what_is_outside_of_docs_is_in_the_site(site: Path) -> None:
    names = ("overview", "architecture", "changelog", "contributing", "performance", "threat_model")
    for name in names:
        assert (site / f"{name}.html").exists()
    cookbook = [*(ROOT / "cookbook").glob("*.md"), *(ROOT / "cookbook").glob("*.ipynb")]
    for recipe in cookbook:
        name = "index" if recipe.stem == "README" else recipe.stem
        assert (site / "cookbook" / f"{name}.html").exists(), recipe
    searched = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    assert any("FINAL" in entry["text"] for entry in searched)


def test_a_notebook_becomes_a_page_without_running(tmp_path: Path) -> None:
    import importlib.util

    import nbformat

    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    output = nbformat.v4.new_output("stream", text="two herons\n")
    cells = [
        nbformat.v4.new_markdown_cell("# First run"),
        nbformat.v4.new_code_cell("raise SystemExit('not run')", outputs=[output, picture]),
    ]
    path = tmp_path / "first_run.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    text = hooks.notebook_text(path)
    assert text.startswith("# First run")
    assert "```python\nraise SystemExit('not run')\n```" in text
    assert "two herons" in text
    assert "(data:image/png;base64,iVBORw0KGgo=)" in text


def test_pages_look_right_in_a_browser(site: Path) -> None:
    program, reason = find_browser()
    if program is None:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    backgrounds = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=list(FLAGS))
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.on("request", lambda request: asked.append(request.url))
            for name in ("index", "concepts/index", "reference/run"):
                page.goto(f"file://{site}/{name}.html")
            page.goto(f"file://{site}/concepts/index.html")
            backgrounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
            assert len(widths) >= 2
            assert all(widths)
        browser.close()
    assert backgrounds[0] != backgrounds[1]
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
