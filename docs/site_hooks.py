"""What the site adds to MkDocs: pages that live elsewhere in the repository, notebooks, links.

The pages of the repository are written for its own web page: their links lead from file to file.
Here each file gets its place in the site, and each link is turned into one that leads there.
"""

from __future__ import annotations

import base64
import importlib
import mimetypes
import pkgutil
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from collections.abc import Callable

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PLACES = {
    "README.md": "overview.md",
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "performance.md",
    "cookbook/README.md": "cookbook/index.md",
    "examples/README.md": "examples.md",
    "langchain_replm/sandbox/THREAT_MODEL.md": "threat_model.md",
}
"""Files of the repository that are pages of the site by another name."""

FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(\]\()(?![a-z]+:|#|/)([^)#\s]+)")


def collected() -> dict[str, str]:
    """The files outside of docs/ that are pages, with their places in the site."""
    cookbook = [*(ROOT / "cookbook").glob("*.md"), *(ROOT / "cookbook").glob("*.ipynb")]
    names = sorted(path.relative_to(ROOT).as_posix() for path in cookbook)
    return {**{name: str(Path(name).with_suffix(".md")) for name in names}, **PLACES}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append to Guides and Cookbook the pages that the configuration does not name."""
    guides = sorted(f"guides/{path.name}" for path in (ROOT / "docs" / "guides").glob("*.md"))
    cookbook = [place for place in collected().values() if place.startswith("cookbook/")]
    for section in config.nav or []:
        for title, there in (("Guides", guides), ("Cookbook", cookbook)):
            if title in section:
                section[title] += [place for place in there if place not in section[title]]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live outside of docs/."""
    for name, place in collected().items():
        path = ROOT / name
        if path.suffix == ".ipynb":
            files.append(File.generated(config, place, content=notebook_text(path)))
        else:
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def evals_names() -> str:
    """References to the public names of the evaluation, else to its public modules."""
    package = importlib.import_module("langchain_replm.evals")
    modules = [info.name for info in pkgutil.iter_modules(package.__path__)]
    names = getattr(package, "__all__", None) or [n for n in modules if not n.startswith("_")]
    return "\n\n".join(f"::: {package.__name__}.{name}" for name in names)


def notebook_text(path: Path) -> str:
    """A notebook with the outputs it holds, as Markdown; nothing is executed."""
    import nbformat  # noqa: PLC0415 - slow, and needed for notebooks only
    from nbconvert import MarkdownExporter  # noqa: PLC0415

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.setdefault("language_info", {"name": "python"})
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    for name, data in resources.get("outputs", {}).items():  # pictures
        kind = mimetypes.guess_type(name)[0]
        text = text.replace(f"({name})", f"(data:{kind};base64,{base64.b64encode(data).decode()})")
    return str(text)


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between places of the site."""
    homes = {place: name for name, place in collected().items()}
    home = homes.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def turned(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), match[2]))
        place = place_of(target)
        if place is None:
            return match[0]  # MkDocs will say that it leads nowhere
        if files.get_file_from_path(place) is None:  # a script, a configuration: as it is
            files.append(File.generated(config, place, abs_src_path=str(ROOT / target)))
        return match[1] + posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")

    if page.file.src_uri == "reference/evals.md":  # grows by itself
        markdown += f"\n\n{evals_names()}\n"
    return outside_fences(markdown, lambda text: LINK.sub(turned, text))


def place_of(name: str) -> str | None:
    """Where a file or folder of the repository is in the site."""
    path = ROOT / name
    if path.is_dir():
        name = f"{name}/README.md"
        path /= "README.md"
    if not path.is_file():
        return None
    return collected().get(name, name.removeprefix("docs/"))


def outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Apply `change` to what is not inside a code fence."""
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])
