"""Chance and sense: which words there are for a purpose, and random clauses that make sense.

Two halves of the lexicon (`Words.part`) share no content concept: tasks train on one half and are
evaluated on the other, so that what a model knows of the words there it knows from its pretraining.
Names of kinds and sorts (*bird*, *animal*), places and function words are common to both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np

from multibench.pocket import lexicon
from multibench.pocket.grammar import Clause, NounPhrase, Prepositional, Relative
from multibench.pocket.lexicon import Adjective, Noun, Verb

__all__ = ["PREPOSITIONS", "Dice", "Style", "Words", "World", "fits", "goes_with", "stream"]

T = TypeVar("T")
W = TypeVar("W", Noun, Verb, Adjective)
PREPOSITIONS = ("near", "behind", "beside", "inside", "outside")


def stream(*key: int | str) -> Dice:
    """Dice that depend on ``key`` alone; different keys give independent dice."""
    numbers = [part if isinstance(part, int) else int.from_bytes(part.encode(), "big") for part in key]
    return Dice(np.random.default_rng(np.random.SeedSequence(numbers)))


class Dice:
    """The few draws that the world needs, all from one generator's uniform numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.uniform = rng.random

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``, all equally likely."""
        return options[int(self.uniform() * len(options))]

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.uniform() < probability)

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """``options`` in random order."""
        return [option for _, option in sorted(((self.uniform(), o) for o in options), key=lambda p: p[0])]


def fits(noun: Noun, place: str) -> bool:
    """Whether a noun may stand where a sort, a kind or ``being`` is wanted."""
    return place in (noun.sort, noun.kind) or (place == "being" and noun.sort in ("person", "animal"))


def _partner(word: Noun | Verb | Adjective) -> str:
    """The concept that excludes this one; its own if there is none, or if there are many."""
    if isinstance(word, Noun) or word.opposite in ("", "colour"):
        return word.concept
    return word.opposite


@dataclass(frozen=True, eq=False)
class Words:
    """A part of the lexicon, with the look-ups that generation needs."""

    nouns: tuple[Noun, ...]
    verbs: tuple[Verb, ...]
    adjectives: tuple[Adjective, ...]

    @staticmethod
    @cache
    def part(name: str) -> Words:
        """``train`` or ``dev`` (disjoint in content concepts but for places), or ``all``."""
        groups: dict[str, dict[str, int]] = {"noun": {}, "verb": {}, "adjective": {}}

        def keep(family: str, concept: str, opposite: str) -> bool:
            # Concepts that exclude each other stay together. Two of five groups are for evaluation.
            key = "/".join(sorted((concept, opposite)))
            index = groups[family].setdefault(key, len(groups[family]))
            return name == "all" or (index % 5 in (1, 3)) == (name == "dev")

        nouns = tuple(n for n in lexicon.nouns() if keep("noun", n.concept, "") or n.sort == "place")
        verbs = tuple(v for v in lexicon.verbs() if keep("verb", v.concept, v.opposite))
        adjectives = tuple(
            a
            for a in lexicon.adjectives()
            if keep("adjective", a.concept, "" if a.opposite == "colour" else a.opposite)
        )
        return Words(nouns, verbs, adjectives)

    def excerpt(self, dice: Dice) -> Words:
        """A small part that still makes sense: a few concepts of every sort, with their synonyms."""

        def some(items: Sequence[W], count: int) -> set[str]:
            """Concepts of so many groups; those that exclude each other come together."""
            groups = list(dict.fromkeys(frozenset((i.concept, _partner(i))) for i in items))
            return {concept for group in dice.shuffled(groups)[:count] for concept in group}

        nouns: set[str] = set()
        for sort, count in (("person", 2), ("animal", 2), ("thing", 4), ("place", 2)):
            nouns |= some([n for n in self.nouns if n.sort == sort], count)
        kept = tuple(n for n in self.nouns if n.concept in nouns)
        possible = [
            v for v in self.verbs if all(any(fits(n, o) for n in kept) for o in (v.subject, *v.objects))
        ]
        verbs: set[str] = set()
        for wanted in ("being", "thing", ""):
            taking = [v for v in possible if (wanted in v.objects if wanted else not v.objects)]
            verbs |= some(taking, 2)
        verbs |= some([v for v in possible if v.objects and not {"being", "thing"} & {*v.objects}], 2)
        adjectives: set[str] = set()
        for sort in ("being", "thing", "place"):
            adjectives |= some([a for a in self.adjectives if a.sort == sort], 2)
        return Words(
            kept,
            tuple(v for v in possible if v.concept in verbs),
            tuple(a for a in self.adjectives if a.concept in adjectives),
        )

    @cache  # noqa: B019 - instances are few, and live as long as the program
    def nouns_for(self, place: str) -> tuple[Noun, ...]:
        """Nouns that fit a sort, kind or ``being``."""
        return tuple(n for n in self.nouns if fits(n, place))

    @cache  # noqa: B019
    def adjectives_for(self, sort: str) -> tuple[Adjective, ...]:
        """Adjectives for a noun of this sort."""
        wanted = "being" if sort in ("person", "animal") else sort
        return tuple(a for a in self.adjectives if a.sort == wanted)

    @cache  # noqa: B019
    def verbs_with(self, transitive: bool) -> tuple[Verb, ...]:
        """Verbs with an object, or those without, whose places this part has nouns for."""
        return tuple(
            v
            for v in self.verbs
            if bool(v.objects) == transitive and all(self.nouns_for(o) for o in (v.subject, *v.objects))
        )

    @cache  # noqa: B019
    def verbs_between(self, subject: Noun, target: Noun | None) -> tuple[Verb, ...]:
        """Verbs that make sense with this subject and this object (or without one)."""
        return tuple(
            v
            for v in self.verbs_with(target is not None)
            if fits(subject, v.subject) and (target is None or any(fits(target, o) for o in v.objects))
        )

    @cache  # noqa: B019
    def verbs_of(self, noun: Noun, role: str) -> tuple[Verb, ...]:
        """Transitive verbs that make sense with this noun as their ``subject`` or ``object``."""
        return tuple(
            v
            for v in self.verbs_with(True)
            if any(fits(noun, place) for place in ((v.subject,) if role == "subject" else v.objects))
        )

    @cache  # noqa: B019
    def synonyms(self, word: Noun | Verb | Adjective) -> tuple[Noun | Verb | Adjective, ...]:
        """Other words of the same part of speech and concept."""
        if isinstance(word, Noun):
            pool: Sequence[Noun | Verb | Adjective] = self.nouns
        else:
            pool = self.verbs if isinstance(word, Verb) else self.adjectives
        return tuple(w for w in pool if w.concept == word.concept and w != word)

    @cache  # noqa: B019
    def opposites(self, word: Verb | Adjective) -> tuple[Verb | Adjective, ...]:
        """Words of the concept that excludes this one; of the other colours for a colour."""
        pool: Sequence[Verb | Adjective] = self.verbs if isinstance(word, Verb) else self.adjectives
        if word.opposite == "colour":
            return tuple(w for w in pool if w.opposite == "colour" and w != word)
        return tuple(w for w in pool if word.opposite and w.concept == word.opposite)


@dataclass(frozen=True)
class Style:
    """How often a random clause has each construction."""

    quantified: float = 0.25
    indefinite: float = 0.3
    hypernym: float = 0.12
    plural: float = 0.45
    adjective: float = 0.25
    near: float = 0.1  # a prepositional phrase inside a noun phrase
    relative: float = 0.0
    coordinated: float = 0.0
    copular: float = 0.2
    intransitive: float = 0.25
    place: float = 0.3
    fronted: float = 0.0
    manner: float = 0.12
    negated: float = 0.25
    passive: float = 0.1


@cache
def goes_with(one: str, other: str) -> bool:
    """Whether two concepts keep company in this world: one pair in five, for no reason at all."""
    pair = "/".join(sorted((one, other)))
    return hashlib.sha256(pair.encode()).digest()[0] < 51


class World:
    """Random clauses over one part of the lexicon.

    ``custom`` is how often a word is chosen for the company of the words around it (`goes_with`). That is
    how text tells synonyms, which keep the same company, from words that are merely of one kind.
    """

    def __init__(self, dice: Dice, words: Words, custom: float = 0.0) -> None:
        self.dice, self.words, self.custom = dice, words, custom

    def choose(self, options: Sequence[W], *company: Noun | Verb | Adjective | None) -> W:
        """One of ``options``; by custom, of those that go with most of the ``company``."""
        if company and self.custom and self.dice.chance(self.custom):
            others = [word.concept for word in company if word is not None]
            known = [sum(goes_with(option.concept, other) for other in others) for option in options]
            options = [option for option, count in zip(options, known, strict=True) if count == max(known)]
        return self.dice.pick(options)

    def place(self, style: Style, *company: Noun | Verb | None) -> Prepositional:
        """A place: "near the old barn"."""
        noun = self.choose(self.words.nouns_for("place"), *company)
        options = self.words.adjectives_for("place")
        adjective = None
        if options and self.dice.chance(style.adjective / 2):
            adjective = self.choose(options, noun)
        return Prepositional(self.dice.pick(PREPOSITIONS), NounPhrase(noun, adjective=adjective))

    def noun(self, wanted: Sequence[str], style: Style, verb: Verb | None = None) -> Noun:
        """A noun that fits one of ``wanted``, sometimes the name of a kind."""
        noun = self.choose(self.words.nouns_for(self.dice.pick(wanted)), verb)
        return lexicon.kind_nouns()[noun.kind] if self.dice.chance(style.hypernym) else noun

    def phrase(
        self, wanted: Sequence[str], style: Style, *, subject: bool, verb: Verb | None = None
    ) -> NounPhrase:
        """A noun phrase; only subjects are quantified, coordinated or relativised by an object."""
        dice = self.dice
        noun = self.noun(wanted, style, verb)
        plural = dice.chance(style.plural)
        if subject and dice.chance(style.quantified):
            determiner = dice.pick(("all", "these") if plural else ("every", "no", "this", "no"))
        elif dice.chance(style.indefinite):
            determiner = dice.pick(("some", "some", "two")) if plural else "a"
        else:
            determiner = "the"
        adjective = None
        if dice.chance(style.adjective):
            adjective = self.choose(self.words.adjectives_for(noun.sort), noun)
        place = self.place(style, noun) if dice.chance(style.near) else None
        phrase = NounPhrase(noun, plural, determiner, adjective, place)
        if dice.chance(style.relative):
            phrase = NounPhrase(noun, plural, determiner, adjective, None, self.relative(noun))
        elif subject and determiner in ("the", "a", "some") and dice.chance(style.coordinated):
            other = NounPhrase(self.noun(wanted, style, verb), dice.chance(style.plural))
            if other.noun.concept != noun.concept:
                phrase = NounPhrase(noun, plural, determiner, adjective, None, None, other)
        return phrase

    def relative(self, head: Noun) -> Relative | None:
        """A relative clause that fits its head, with a plain noun phrase inside."""
        gap = self.dice.pick(("subject", "object"))
        verbs = self.words.verbs_of(head, gap)
        if not verbs:
            return None
        verb = self.choose(verbs, head)
        wanted = verb.objects if gap == "subject" else (verb.subject,)
        inner = self.choose(self.words.nouns_for(self.dice.pick(wanted)), verb)
        return Relative(verb, NounPhrase(inner, self.dice.chance(0.5)), gap)

    def clause(self, style: Style) -> Clause:
        """A random clause that makes sense. Negation is left to subjects that refer."""
        dice = self.dice
        place = self.place(style) if dice.chance(style.place) else None
        if dice.chance(style.copular):
            subject = self.phrase((dice.pick(("person", "animal", "thing", "thing")),), style, subject=True)
            quality = self.choose(self.words.adjectives_for(subject.noun.sort), subject.noun)
            if subject.adjective:
                subject = _plain(subject)
            clause = Clause(subject, quality=quality)
        else:
            transitive = not dice.chance(style.intransitive)
            verb = dice.pick(self.words.verbs_with(transitive))
            subject = self.phrase((verb.subject,), style, subject=True, verb=verb)
            manner = dice.pick(lexicon.MANNERS) if dice.chance(style.manner) else ""
            target = self.phrase(verb.objects, style, subject=False, verb=verb) if transitive else None
            clause = Clause(subject, verb, target, place=place, manner=manner)
            clause = clause.but(fronted=place is not None and dice.chance(style.fronted))
        refers = subject.determiner in ("the", "this", "these")
        if refers and dice.chance(style.negated):
            clause = clause.but(negated=True)
        if can_be_passive(clause) and dice.chance(style.passive):
            clause = clause.but(passive=True)
        return clause


def _plain(phrase: NounPhrase) -> NounPhrase:
    return NounPhrase(phrase.noun, phrase.plural, phrase.determiner, None, phrase.place)


REFERRING = ("the", "this", "these")
EXISTENTIAL = ("a", "some", "two")


def can_be_passive(clause: Clause) -> bool:
    """Whether the passive says the same: two phrases whose scopes do not interact."""
    if clause.verb is None or clause.object is None:
        return False
    both = (clause.subject.determiner, clause.object.determiner)
    if all(d in REFERRING for d in both):
        return True
    return not clause.negated and all(d in REFERRING + EXISTENTIAL for d in both)
