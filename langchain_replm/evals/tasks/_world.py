"""A fictional world: people, companies, towns and books, and one document about each of them.

Each fact stands in one document only: that of its subject. To go on from an author to a birthplace
one has to find the document of the author.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_replm.evals.tasks._grammar import phrases, words
from langchain_replm.evals.tasks._prose import ADJECTIVES, NOUNS, sentences

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

_SHARES = {"person": 0.4, "company": 0.2, "town": 0.2, "book": 0.2}
_LEAST_EACH = 3
MOST_ENTITIES = 10_000
"""So many have names and prizes of their own without a long search for new ones."""

_ONSETS = words("b br d dr f g gr h k kl l m n p r s st t th v w z")
_VOWELS = words("a e i o u ai ea ie")
_CODAS = words("l n r s m nd rt sk")
_TOWN_ENDS = words("ford ham mouth stead wick bury holm vale minster haven")
_GIVEN_ENDS = words("a o an en in is ar iel ette us")
_OCCUPATIONS = phrases("""
botanist | cartographer | clockmaker | composer | engineer | geologist | glassblower | lawyer
linguist | physician | photographer | shipbuilder | surveyor | teacher | zoologist
""")
_PRODUCTS = phrases("""
brass instruments | fishing nets | garden tools | ink | kites | lamps | leather gloves | paper
pocket watches | porcelain | rope | saddles | sewing machines | soap | telescopes | typewriters
""")
_PRIZES = words("Quill Medal Page Prize Award Inkwell")

PHRASINGS: dict[str, list[str]] = {
    "birthplace": phrases("""
{name} was born in {value}. | {name} came into the world in {value}.
{name} is a native of {value}.
The birthplace of {name} is {value}."""),
    "born": phrases("""
The birth of {name} is dated {value}. | The life of {name} began in {value}.
Records give {value} as the year in which {name} was born."""),
    "mentor": phrases("""
{name} learned the trade from {value}. | As a young person, {name} was taught by {value}.
The mentor of {name} was {value}. | {name} began as an apprentice of {value}."""),
    "occupation": phrases("""
{name} worked as a {value} for many years. | By profession {name} was a {value}."""),
    "founder": phrases("""
{name} was founded by {value}. | It was {value} who started {name}.
The founder of {name} is {value}. | {name} owes its existence to {value}."""),
    "seat": phrases("""
{name} is based in {value}. | The head office of {name} is in {value}.
{name} has its workshops and offices in {value}."""),
    "makes": phrases("""
{name} has made {value}. | Customers know {name} for having made {value}."""),
    "river": phrases("""
{name} lies on the river {value}. | The river {value} runs through {name}.
{name} was built where the river {value} bends."""),
    "festival": phrases("""
Every year {name} holds the {value}. | {name} is known for the {value}.
People come to {name} for the {value}."""),
    "mayor": phrases("""
The mayor of {name} is {value}. | {name} elected {value} as its mayor.
In {name}, {value} holds the office of mayor."""),
    "author": phrases("""
{name} was written by {value}. | The author of {name} is {value}.
{name} is a work of {value}."""),
    "setting": phrases("""
The story of {name} is set in {value}. | {name} takes place in {value}."""),
    "won": phrases("""
{name} won the {value}. | The jury gave {name} the {value}."""),
}
"""How a fact is put into words, by its relation."""


@dataclass
class Entity:
    """Something that a document is about. Facts lead to names of entities, or to plain values."""

    kind: str
    name: str
    facts: dict[str, str] = field(default_factory=dict)

    def text(self, rng: random.Random, chars: int) -> str:
        """The document: its facts among sentences that say nothing of use."""
        facts = [
            rng.choice(PHRASINGS[relation]).format(name=self.name, value=value)
            for relation, value in self.facts.items()
        ]
        rng.shuffle(facts)
        parts = sentences(rng, chars - sum(len(fact) + 1 for fact in facts))
        places = sorted((rng.randint(0, len(parts)) for _ in facts), reverse=True)
        for place, fact in zip(places, facts, strict=True):
            parts.insert(place, fact)
        return " ".join(parts)


class World:
    """Entities of all kinds, `count` of them, with names that occur once."""

    def __init__(self, rng: random.Random, count: int) -> None:
        if count > MOST_ENTITIES:
            msg = f"a world has at most {MOST_ENTITIES:,} entities, not {count:,}"
            raise ValueError(msg)
        self._rng = rng
        self._taken: set[str] = set()
        self.of_kind = {
            kind: [
                Entity(kind, self._name(kind)) for _ in range(max(_LEAST_EACH, int(count * share)))
            ]
            for kind, share in _SHARES.items()
        }
        self.by_name = {each.name: each for some in self.of_kind.values() for each in some}
        self._rivers = [
            self._new(self._made_up) for _ in range(max(4, len(self.of_kind["town"]) // 3))
        ]
        for kind, some in self.of_kind.items():
            for entity in some:
                entity.facts = getattr(self, f"_{kind}_facts")(entity)

    def _one(self, kind: str, other_than: str = "") -> str:
        """The name of any entity of the kind but one."""
        some = self.of_kind[kind]
        at = int(self._rng.random() * len(some))
        return some[at if some[at].name != other_than else at - 1].name

    def _person_facts(self, person: Entity) -> dict[str, str]:
        return {
            "birthplace": self._one("town"),
            "born": str(self._rng.randint(1840, 1939)),
            "mentor": self._one("person", other_than=person.name),
            "occupation": self._rng.choice(_OCCUPATIONS),
        }

    def _company_facts(self, _: Entity) -> dict[str, str]:
        return {
            "founder": self._one("person"),
            "seat": self._one("town"),
            "makes": self._new(lambda: f"{self._pick(_PRODUCTS)} since {self._year()}"),
        }

    def _town_facts(self, _: Entity) -> dict[str, str]:
        return {
            "river": self._pick(self._rivers),
            "festival": self._new(
                lambda: (
                    f"Festival of the {self._pick(ADJECTIVES).title()} {self._pick(NOUNS).title()}"
                )
            ),
            "mayor": self._one("person"),
        }

    def _book_facts(self, _: Entity) -> dict[str, str]:
        return {
            "author": self._one("person"),
            "setting": self._one("town"),
            "won": self._new(
                lambda: f"{self._pick(ADJECTIVES).title()} {self._pick(_PRIZES)} in {self._year()}"
            ),
        }

    def _name(self, kind: str) -> str:
        return self._new(getattr(self, f"_{kind}_name"))

    def _person_name(self) -> str:
        given = self._made_up() + self._pick(_GIVEN_ENDS)
        return f"{given} {self._made_up()}{self._pick(_CODAS)}"

    def _company_name(self) -> str:
        parts = (ADJECTIVES, NOUNS, ("company", "works", "brothers"))
        return " ".join(self._pick(choices).title() for choices in parts)

    def _town_name(self) -> str:
        return self._made_up() + self._pick(_TOWN_ENDS)

    def _book_name(self) -> str:
        one, other = self._rng.sample(NOUNS, 2)
        return f'"The {self._pick(ADJECTIVES).title()} {one.title()} and the {other.title()}"'

    def _made_up(self) -> str:
        syllables = (self._pick(_ONSETS) + self._pick(_VOWELS) for _ in range(2))
        return ("".join(syllables) + self._pick(_CODAS)).capitalize()

    def _pick(self, choices: Sequence[str]) -> str:
        return choices[int(self._rng.random() * len(choices))]

    def _year(self) -> int:
        return self._rng.randint(1500, 1999)

    def _new(self, make: Callable[[], str]) -> str:
        """A text that was not made before in this world."""
        while (text := make()) in self._taken:
            pass
        self._taken.add(text)
        return text
