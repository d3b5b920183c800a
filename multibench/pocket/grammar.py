"""Meanings of sentences and how they are spelled out: agreement, negation, voice, relative clauses.

A `Clause` is what a sentence says; `spell` gives its words. All sentences are in the simple present,
so that every finite verb agrees with its subject.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from multibench.pocket.lexicon import Adjective, Noun, Verb

__all__ = [
    "BOTH_NUMBERS",
    "PLURAL_ONLY",
    "SINGULAR_ONLY",
    "Clause",
    "NounPhrase",
    "Prepositional",
    "Relative",
    "noun_phrase",
    "question",
    "sentence",
    "spell",
    "verb_words",
]

BOTH_NUMBERS = ("the",)
SINGULAR_ONLY = ("a", "every", "no", "this", "each")
PLURAL_ONLY = ("some", "all", "these", "many", "most", "few", "two", "three")


@dataclass(frozen=True, slots=True)
class Prepositional:
    """A preposition and what it governs: "near the barn"."""

    preposition: str
    inner: NounPhrase


@dataclass(frozen=True, slots=True)
class Relative:
    """A relative clause: with ``subject`` "that the cat chases", without "that chases the cat"."""

    verb: Verb
    inner: NounPhrase | None
    gap: str  # "subject" or "object": what the head noun is in the relative clause


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A noun with its determiner and modifiers, possibly coordinated with another phrase."""

    noun: Noun
    plural: bool = False
    determiner: str = "the"
    adjective: Adjective | None = None
    place: Prepositional | None = None
    relative: Relative | None = None
    other: NounPhrase | None = None  # "... and the other"

    @property
    def agrees_plural(self) -> bool:
        """Whether a verb with this subject takes its plural form."""
        return self.plural or self.other is not None


@dataclass(frozen=True, slots=True)
class Clause:
    """One predication: verb with its arguments, or the copula with ``quality`` or ``category``."""

    subject: NounPhrase
    verb: Verb | None = None
    object: NounPhrase | None = None
    quality: Adjective | None = None
    category: Noun | None = None
    place: Prepositional | None = None
    manner: str = ""
    negated: bool = False
    passive: bool = False
    fronted: bool = False  # the place comes first: "near the barn the dog sleeps"
    ever: bool = False  # wants a licensor: "no dog ever sleeps", not "a dog ever sleeps"

    def but(self, **changes: Any) -> Clause:
        """A copy with some fields changed."""
        return replace(self, **changes)


def noun_phrase(phrase: NounPhrase) -> list[str]:
    """The words of a noun phrase."""
    noun = phrase.noun.plural if phrase.plural else phrase.noun.singular
    words = [phrase.adjective.word] if phrase.adjective else []
    words.append(noun)
    determiner = phrase.determiner
    if determiner == "a" and words[0][0] in "aeiou":
        determiner = "an"
    words.insert(0, determiner)
    if phrase.place:
        words += _prepositional(phrase.place)
    if phrase.relative:
        words += _relative(phrase.relative, phrase.plural)
    if phrase.other:
        words += ["and", *noun_phrase(phrase.other)]
    return words


def _prepositional(place: Prepositional) -> list[str]:
    return [place.preposition, *noun_phrase(place.inner)]


def _relative(relative: Relative, head_plural: bool) -> list[str]:
    if relative.gap == "subject":
        verb = relative.verb.base if head_plural else relative.verb.third
        return ["that", verb, *(noun_phrase(relative.inner) if relative.inner else [])]
    assert relative.inner is not None
    verb = relative.verb.base if relative.inner.agrees_plural else relative.verb.third
    return ["that", *noun_phrase(relative.inner), verb]


def verb_words(clause: Clause) -> list[str]:
    """The finite verb group, agreeing with the subject of the surface form."""
    subject = clause.object if clause.passive else clause.subject
    assert subject is not None
    plural = subject.agrees_plural
    ever = ["ever"] if clause.ever else []
    manner = [clause.manner] if clause.manner else []
    if clause.verb is None or clause.passive:
        copula = ["are" if plural else "is", *(["not"] if clause.negated else []), *ever, *manner]
        return [*copula, clause.verb.participle] if clause.verb else copula
    if clause.negated:
        return ["do" if plural else "does", "not", *ever, *manner, clause.verb.base]
    return [*ever, *manner, clause.verb.base if plural else clause.verb.third]


def spell(clause: Clause) -> list[str]:
    """The words of a clause, without a full stop."""
    subject, rest = clause.subject, clause.object
    if clause.passive:
        assert clause.object is not None
        subject, rest = clause.object, clause.subject
    words = [*noun_phrase(subject), *verb_words(clause)]
    if clause.quality:
        words.append(clause.quality.word)
    if clause.category:
        words += _category(clause.category, subject.agrees_plural)
    if rest:
        words += ["by", *noun_phrase(rest)] if clause.passive else noun_phrase(rest)
    if clause.place:
        place = _prepositional(clause.place)
        words = [*place, *words] if clause.fronted else [*words, *place]
    return words


def _category(noun: Noun, plural: bool) -> list[str]:
    if plural:
        return [noun.plural]
    return ["an" if noun.singular[0] in "aeiou" else "a", noun.singular]


def question(clause: Clause, asked: str) -> list[str]:
    """A wh-question about ``asked``: "subject", "object" or "place" of an active, positive clause.

    "who chases the cat near the barn", "what does the farmer buy", "where do the dogs sleep".
    """
    assert clause.verb is not None
    place = _prepositional(clause.place) if clause.place else []
    if asked == "subject":
        word = "who" if clause.subject.noun.sort == "person" else "what"
        return [word, clause.verb.third, *(noun_phrase(clause.object) if clause.object else []), *place]
    do = "do" if clause.subject.agrees_plural else "does"
    middle = [do, *noun_phrase(clause.subject), clause.verb.base]
    if asked == "object":
        assert clause.object is not None
        return ["who" if clause.object.noun.sort == "person" else "what", *middle, *place]
    return ["where", *middle, *(noun_phrase(clause.object) if clause.object else [])]


def sentence(words: list[str], mark: str = ".") -> str:
    """Words as text: one space between words, none before the mark; commas stick to their word."""
    return " ".join(words).replace(" ,", ",") + mark
