"""Questions over many documents: the chain can be followed through their texts, and only so."""

from __future__ import annotations

import random
import re

import pytest
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel

from langchain_replm.errors import ConfigurationError
from langchain_replm.evals.tasks import task
from langchain_replm.evals.tasks._world import MOST_ENTITIES, PHRASINGS, World
from langchain_replm.evals.types import Example
from langchain_replm.testing import ScriptedChatModel

FACTS = [
    (
        relation,
        re.compile(
            re.escape(phrasing)
            .replace(r"\{name\}", f"(?P<name>{name})", 1)
            .replace(r"\{name\}", "(?P=name)")
            .replace(r"\{value\}", "(?P<value>[^.]+)")
        ),
    )
    for relation, phrasings in PHRASINGS.items()
    for phrasing in phrasings
    for name in ['"The [^"]+"|[A-Z][a-z]+(?: [A-Z][a-z]+){0,2}']
]
WAYS = {
    r"the author of (.+)": "author",
    r"the town in which (.+) is set": "setting",
    r"the founder of (.+)": "founder",
    r"the town in which (.+) is based": "seat",
    r"the mayor of (.+)": "mayor",
    r"the mentor of (.+)": "mentor",
    r"the birthplace of (.+)": "birthplace",
}
ENDS = {
    r"On which river lies (.+)\?": "river",
    r"Which festival is held in (.+)\?": "festival",
    r"In which year was (.+) born\?": "born",
    r"(?:Who|Which town) is (.+)\?": "",
}
BEGINNINGS = {
    r"the book that won the (.+)": "won",
    r"the company that has made (.+)": "makes",
    r"the town that holds the (.+)": "festival",
}


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return list(task("documents").examples(context_tokens=2**13, count=24, seed=1))


def read(documents: list[Document]) -> dict[tuple[str, str], str]:
    """What the sentences say, as (relation, name) -> value; nothing is read from metadata."""
    facts: dict[tuple[str, str], str] = {}
    for document in documents:
        for sentence in re.findall(r"[^.]+\.(?=\s|$)", document.page_content):
            for relation, pattern in FACTS:
                if found := pattern.fullmatch(sentence.strip()):
                    assert facts.setdefault((relation, found["name"]), found["value"])
    return facts


def resolve(text: str, facts: dict[tuple[str, str], str]) -> str:
    for pattern, relation in WAYS.items():
        if found := re.fullmatch(pattern, text):
            return facts[relation, resolve(found[1], facts)]
    for pattern, relation in BEGINNINGS.items():
        if found := re.fullmatch(pattern, text):
            [name] = [n for (r, n), value in facts.items() if (r, value) == (relation, found[1])]
            return name
    return re.sub("^the (?:book|company) ", "", text)


def solve(query: str, documents: list[Document]) -> str:
    facts = read(documents)
    question = query.removesuffix(" Answer with the name or year alone.")
    for pattern, relation in ENDS.items():
        if found := re.fullmatch(pattern, question):
            name = resolve(found[1], facts)
            return facts[relation, name] if relation else name
    raise AssertionError(query)


def test_following_the_chain_through_the_texts_is_always_right(examples: list[Example]) -> None:
    documents = task("documents")
    for example in examples:
        answer = solve(example.query, example.context)
        assert documents.score(example, answer).value == 1, (example.query, answer)
        assert documents.score(example, f"It is {answer.lower()}, I think.").value == 1


def test_a_rival_is_wrong_with_or_without_the_right_name(examples: list[Example]) -> None:
    documents = task("documents")
    for example in examples:
        for rival in example.metadata["rivals"]:
            assert documents.score(example, rival).value == 0
            assert documents.score(example, f"{example.expected} or {rival}").value == 0
    assert sum(len(example.metadata["rivals"]) for example in examples) > len(examples)


def test_each_needed_document_is_needed(examples: list[Example]) -> None:
    for example in examples:
        evidence = example.metadata["evidence"]
        assert 2 <= len(evidence) <= 3
        for gone in evidence:
            left = [document for document in example.context if document.id != gone]
            with pytest.raises((KeyError, ValueError)):
                solve(example.query, left)


def test_the_answer_is_in_no_document_that_the_question_names(examples: list[Example]) -> None:
    for example in examples:
        assert example.expected not in example.query
        first = [d for d in example.context if d.metadata["title"] in example.query]
        assert not [d for d in first if example.expected in d.page_content]


def test_documents_have_titles_kinds_and_ids(examples: list[Example]) -> None:
    for example in examples:
        ids = {document.id for document in example.context}
        assert len(ids) == len(example.context) == example.metadata["documents"]
        for document in example.context:
            assert document.metadata["kind"] in {"person", "company", "town", "book"}
            assert document.metadata["title"] in document.page_content


def test_a_judge_decides_if_there_is_one() -> None:
    replies = ["It is.\nVERDICT: correct", "No.\n**VERDICT: wrong**", "Hm."]
    judge = ScriptedChatModel(replies=replies)
    documents = task("documents", judge=judge)
    [example] = documents.examples(context_tokens=2**12, count=1, seed=0)
    assert example.metadata["scorer"] == "judge"
    assert documents.score(example, "the same in other words").value == 1
    score = documents.score(example, example.expected)
    assert (score.value, score.reason) == (0, "No.")
    assert documents.score(example, "x").reason == "the judge gave no verdict: 'Hm.'"
    assert documents.score(example, " ").reason == "there is no answer"
    [[request], *_] = judge.calls
    assert f'"reference answer": "{example.expected}"' in request.text
    assert '"given answer": "the same in other words"' in request.text


def test_a_judge_that_is_no_model_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="judge"):
        task("documents", judge=3)
    assert task("documents", judge=FakeListChatModel(responses=[])).judge is not None


def test_a_large_world_has_a_name_for_everyone() -> None:
    world = World(random.Random(0), MOST_ENTITIES)
    names = [each.name for some in world.of_kind.values() for each in some]
    assert len(names) == len(set(names)) == len(world.by_name)
    assert len(names) > 0.99 * MOST_ENTITIES
    own = [each.facts["won"] for each in world.of_kind["book"]]
    assert len(own) == len(set(own))
    with pytest.raises(ValueError, match="at most 10,000 entities"):
        World(random.Random(0), MOST_ENTITIES + 1)
