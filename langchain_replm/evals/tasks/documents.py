"""Questions that need two or three documents out of many, in the shape of BrowseComp-Plus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from langchain_core.documents import Document

from langchain_replm.evals.scoring import contains
from langchain_replm.evals.tasks._base import CHARS_PER_TOKEN, GeneratedTask
from langchain_replm.evals.tasks._judge import Judge
from langchain_replm.evals.tasks._world import MOST_ENTITIES, Entity, World
from langchain_replm.evals.types import Example, Score

if TYPE_CHECKING:
    import random

    from langchain_core.language_models import BaseChatModel

_DOCUMENT_CHARS = 1600
_LEAST_DOCUMENTS = 12
_RIVALS = 5

_STARTS = {
    "book": "the book {name}",
    "book by prize": "the book that won the {won}",
    "company": "the company {name}",
    "company by product": "the company that has made {makes}",
    "town by festival": "the town that holds the {festival}",
}
_STEPS = {
    "author": "the author of {}",
    "setting": "the town in which {} is set",
    "founder": "the founder of {}",
    "seat": "the town in which {} is based",
    "mayor": "the mayor of {}",
    "mentor": "the mentor of {}",
    "birthplace": "the birthplace of {}",
}
_ASKS = {
    "author": "Who is {}?",
    "founder": "Who is {}?",
    "mayor": "Who is {}?",
    "mentor": "Who is {}?",
    "birthplace": "Which town is {}?",
    "river": "On which river lies {}?",
    "festival": "Which festival is held in {}?",
    "born": "In which year was {} born?",
}


class _Chain(NamedTuple):
    start: str
    steps: tuple[str, ...]


_CHAINS = (
    _Chain("book", ("author", "birthplace")),
    _Chain("company by product", ("founder", "birthplace", "festival")),
    _Chain("town by festival", ("mayor", "mentor")),
    _Chain("book by prize", ("author", "mentor", "birthplace")),
    _Chain("company", ("seat", "river")),
    _Chain("book", ("author", "birthplace", "river")),
    _Chain("town by festival", ("mayor", "birthplace")),
    _Chain("company by product", ("founder", "mentor", "born")),
    _Chain("book by prize", ("setting", "mayor", "birthplace")),
    _Chain("company", ("founder", "mentor")),
    _Chain("town by festival", ("mayor", "birthplace", "river")),
    _Chain("company by product", ("seat", "mayor", "born")),
)


@dataclass(frozen=True)
class Documents(GeneratedTask):
    """Who, where, when? The answer is at the end of a chain through two or three documents.

    In the shape of BrowseComp-Plus (arXiv 2508.06600) and of multi-hop questions in general, over a
    fictional world that no model knows by heart: people, companies, towns and books, a document
    about each. Each fact stands in one document only, and half of the questions describe where to
    begin instead of naming it. The context is a list of `Document`s in random order, with `title`
    and `kind` in their metadata; all documents have the same kinds of facts, so that each distracts
    from the others.

    An answer is right if the expected name is in it, as whole words without regard to case and
    punctuation, and no other name that the same question would have for another beginning (five
    are checked). With `judge`, a chat model decides instead.

    Args:
        judge: A chat model, or its name, that compares answers with the truth.

    Example:
        ```python
        from langchain_replm.evals.tasks import task

        documents = task("documents")
        [example] = documents.examples(context_tokens=2**12, count=1, seed=0)
        print(example.query, len(example.context), example.expected)
        ```
    """

    judge: BaseChatModel | str | None = None

    def __post_init__(self) -> None:
        _ = self._judge  # a model that cannot be had is told now

    @cached_property
    def _judge(self) -> Judge | None:
        return None if self.judge is None else Judge(self.judge)

    name: ClassVar[str] = "documents"
    least_tokens: ClassVar[int] = 2000

    def make(self, context_tokens: int, seed: int, index: int) -> Example:
        """The example at this position, which decides the chain of its question."""
        rng = self._rng(context_tokens, seed, index)
        chars = context_tokens * CHARS_PER_TOKEN
        count = max(_LEAST_DOCUMENTS, min(MOST_ENTITIES, chars // _DOCUMENT_CHARS))
        world = World(rng, count)
        chain = _CHAINS[index % len(_CHAINS)]
        kind = chain.start.split()[0]
        starts = rng.sample(world.of_kind[kind], min(len(world.of_kind[kind]), 4 * _RIVALS))
        path = _follow(world, starts[0], chain)
        answer = path[-1].facts[chain.steps[-1]]
        others = [_follow(world, start, chain)[-1].facts[chain.steps[-1]] for start in starts[1:]]
        passed = {answer, *(entity.name for entity in path)}
        rivals = [name for name in dict.fromkeys(others) if name not in passed][:_RIVALS]
        documents = _documents(rng, world, chars)
        titles = {entity.name for entity in path}
        return Example(
            id=self._id(context_tokens, seed, index),
            task=self.name,
            query=f"{_worded(starts[0], chain)} Answer with the name or year alone.",
            context=documents,
            expected=answer,
            context_tokens=context_tokens,
            metadata={
                "hops": len(chain.steps),
                "documents": len(documents),
                "evidence": [each.id for each in documents if each.metadata["title"] in titles],
                "rivals": rivals,
                "scorer": "judge" if self._judge else "contains",
            },
        )

    def score(self, example: Example, answer: str) -> Score:
        """1 if the answer names what is asked for, and no rival; or what the judge says."""
        if self._judge is not None:
            return self._judge.score(example.query, example.expected, answer)
        for rival in example.metadata["rivals"]:
            if contains(answer, rival).value:
                return Score(0, f"the answer also names {rival!r}")
        return contains(answer, example.expected)


def _follow(world: World, start: Entity, chain: _Chain) -> list[Entity]:
    """The entities whose documents are needed, the first one first."""
    path = [start]
    for step in chain.steps[:-1]:
        path.append(world.by_name[path[-1].facts[step]])
    return path


def _worded(start: Entity, chain: _Chain) -> str:
    text = _STARTS[chain.start].format(name=start.name, **start.facts)
    for step in chain.steps[:-1]:
        text = _STEPS[step].format(text)
    last = chain.steps[-1]
    return _ASKS[last].format(_STEPS.get(last, "{}").format(text))


def _documents(rng: random.Random, world: World, chars: int) -> list[Document]:
    """A document about each entity, in random order, with about `chars` characters in all."""
    entities = list(world.by_name.values())
    rng.shuffle(entities)
    made: list[Document] = []
    for at, entity in enumerate(entities):
        share = chars / (len(entities) - at)
        last = at == len(entities) - 1
        text = entity.text(rng, round(share * (1 if last else rng.uniform(0.6, 1.4))))
        chars -= len(text)
        metadata = {"title": entity.name, "kind": entity.kind}
        made.append(Document(id=f"{entity.kind}-{at}", page_content=text, metadata=metadata))
    return made
