"""The acceptability task: is a sentence well formed? Each bad one breaks one rule of the grammar.

Bad sentences are made of the same words as good ones; most differ from one in the form or the place of
one word, often with a noun of the other number in between (*the dog near the cats sleep*).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from multibench.pocket.corpus import EVER_AFTER, habit
from multibench.pocket.grammar import (
    PLURAL_ONLY,
    SINGULAR_ONLY,
    Clause,
    NounPhrase,
    Prepositional,
    noun_phrase,
    sentence,
    spell,
    verb_words,
)
from multibench.pocket.world import Dice, Style, Words, World, stream

__all__ = ["VIOLATIONS", "acceptability"]

STYLE = Style(
    relative=0.22, coordinated=0.1, near=0.15, passive=0.15, hypernym=0.05, quantified=0.35, manner=0.06
)
FLIPPED = {"is": "are", "are": "is", "does": "do", "do": "does"}


def acceptability(split: str, seed: int, count: int) -> list[dict[str, object]]:
    """Rows with sentence, label (1 well formed, 0 not) and the rule broken ("" if none)."""
    world = World(stream("acceptability", split, seed), Words.part("train" if split == "train" else "dev"))
    rows: list[dict[str, object]] = []
    seen = set()
    names = list(VIOLATIONS)
    bad = 0
    while len(rows) < count:
        clause = _clause(world)
        words, broken = spell(clause), ""
        if len(rows) % 2:
            broken = names[bad % len(names)]
            changed = VIOLATIONS[broken](world.dice, clause)
            if changed is None:
                continue
            words = changed
        text = sentence(words)
        if text in seen:
            continue
        seen.add(text)
        bad += bool(broken)
        rows.append({"sentence": text, "label": 0 if broken else 1, "violation": broken})
    return world.dice.shuffled(rows)


def _clause(world: World) -> Clause:
    if world.dice.chance(0.3):
        return habit(world, world.dice.pick(world.words.nouns_for(world.dice.pick(("being", "thing")))))
    clause = world.clause(STYLE)
    subject = clause.subject
    if subject.relative is None and subject.other is None and world.dice.chance(0.25):
        # An attractor: a noun of the other number between subject and verb.
        near = NounPhrase(world.dice.pick(world.words.nouns_for(subject.noun.sort)), not subject.plural)
        clause = clause.but(subject=replace(subject, place=Prepositional("near", near)))
    return clause


def _verb_at(clause: Clause) -> int:
    """Where the finite verb group starts among the words of ``clause``."""
    surface = clause.object if clause.passive and clause.object else clause.subject
    return len(noun_phrase(surface))


def _agreement(dice: Dice, clause: Clause) -> list[str] | None:
    """The finite verb has the form for the other number."""
    words, start = spell(clause), _verb_at(clause)
    for at in range(start, start + len(verb_words(clause))):
        word = words[at]
        if word in FLIPPED:
            return [*words[:at], FLIPPED[word], *words[at + 1 :]]
        if clause.verb and word in (clause.verb.base, clause.verb.third):
            flipped = clause.verb.third if word == clause.verb.base else clause.verb.base
            return [*words[:at], flipped, *words[at + 1 :]]
    return None


def _relative_agreement(dice: Dice, clause: Clause) -> list[str] | None:
    """The verb of a relative clause has the form for the other number."""
    for slot in ("subject", "object"):
        phrase = getattr(clause, slot)
        if phrase is not None and phrase.relative:
            verb = phrase.relative.verb
            wrong = replace(phrase, relative=replace(phrase.relative, verb=_swapped_forms(verb)))
            return spell(clause.but(**{slot: wrong}))
    return None


def _swapped_forms(verb: object) -> object:
    return replace(verb, base=verb.third, third=verb.base)  # type: ignore[type-var, attr-defined]


def _determiner(dice: Dice, clause: Clause) -> list[str] | None:
    """A determiner of the other number: "these dog", "every dogs"."""
    slot = dice.pick(("subject", "object")) if clause.object else "subject"
    phrase = getattr(clause, slot)
    wrong = dice.pick(tuple(d for d in (SINGULAR_ONLY if phrase.plural else PLURAL_ONLY) if d != "some"))
    return spell(clause.but(ever=False, **{slot: replace(phrase, determiner=wrong)}))


def _no_verb(dice: Dice, clause: Clause) -> list[str] | None:
    """The verb group is missing."""
    words, start = spell(clause), _verb_at(clause)
    return words[:start] + words[start + len(verb_words(clause)) :]


def _verb_first(dice: Dice, clause: Clause) -> list[str] | None:
    """The verb group comes before its subject."""
    words, start = spell(clause), _verb_at(clause)
    end = start + len(verb_words(clause))
    return words[start:end] + words[:start] + words[end:]


def _noun_first(dice: Dice, clause: Clause) -> list[str] | None:
    """A determiner follows its noun or adjective: "dog the sleeps"."""
    words = spell(clause)
    if clause.object and dice.chance(0.5):
        at = _verb_at(clause) + len(verb_words(clause)) + int(clause.passive)
        return [*words[:at], words[at + 1], words[at], *words[at + 2 :]]
    return [words[1], words[0], *words[2:]]


def _bare_negation(dice: Dice, clause: Clause) -> list[str] | None:
    """*not* without or before its auxiliary: "the dog not sleeps", "the dog not does sleep"."""
    words, start = spell(clause), _verb_at(clause)
    if clause.negated:
        return [*words[:start], "not", words[start], *words[start + 2 :]]
    if clause.verb is None or clause.passive or clause.ever:
        return None
    return [*words[:start], "not", *words[start:]]


def _double_finite(dice: Dice, clause: Clause) -> list[str] | None:
    """The verb after *do* is finite too: "the dog does not sleeps"."""
    if not clause.negated or clause.verb is None or clause.passive:
        return None
    words, start = spell(clause), _verb_at(clause)
    at = words.index(clause.verb.base, start)
    return [*words[:at], clause.verb.third, *words[at + 1 :]]


def _ever(dice: Dice, clause: Clause) -> list[str] | None:
    """*ever* that nothing licenses: "some dog ever sleeps"."""
    if clause.negated or clause.subject.determiner in EVER_AFTER or clause.manner or clause.passive:
        return None
    return spell(clause.but(ever=True))


def _arguments(dice: Dice, clause: Clause) -> list[str] | None:
    """A transitive verb without its object, or an intransitive one with an object."""
    if clause.verb is None or clause.passive:
        return None
    if clause.object:
        return spell(clause.but(object=None, place=None))
    return spell(clause.but(object=NounPhrase(clause.subject.noun, dice.chance(0.5)), place=None))


def _no_noun(dice: Dice, clause: Clause) -> list[str] | None:
    """A noun phrase without its noun: "the chases the cat"."""
    words = spell(clause)
    if clause.object and dice.chance(0.5):
        at = _verb_at(clause) + len(verb_words(clause)) + int(clause.passive)
        surface = clause.subject if clause.passive else clause.object
    else:
        at, surface = 0, clause.object if clause.passive and clause.object else clause.subject
    if surface.adjective:
        at += 1
    return words[: at + 1] + words[at + 2 :]


VIOLATIONS: dict[str, Callable[[Dice, Clause], list[str] | None]] = {
    "agreement": _agreement,
    "agreement_with_attractor": lambda dice, c: (
        _agreement(dice, c) if c.subject.place or c.subject.relative else None
    ),
    "agreement_in_relative_clause": _relative_agreement,
    "arguments": _arguments,
    "determiner": _determiner,
    "double_finite": _double_finite,
    "ever": _ever,
    "negation": _bare_negation,
    "no_noun": _no_noun,
    "no_verb": _no_verb,
    "noun_first": _noun_first,
    "verb_first": _verb_first,
}
