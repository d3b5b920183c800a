"""What follows from a clause, what says the same, and what contradicts it.

Definite phrases refer: *the dog* of one sentence is *the animal* of the next, whatever the polarity.
Everything else obeys monotonicity. ``every``, ``all`` and ``no`` turn their noun phrase downwards;
``no`` and ``not`` turn what follows. ``every`` implies that there is one. Each function gives all
single edits of its kind, so that a caller can pick; none draws at random by itself but `rephrase`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from multibench.pocket import lexicon
from multibench.pocket.grammar import Clause, NounPhrase
from multibench.pocket.lexicon import Adjective, Noun, Verb
from multibench.pocket.world import EXISTENTIAL, REFERRING, Style, World, can_be_passive, fits

__all__ = ["contradictions", "rephrase", "role_swap", "unrelated", "weakenings"]

UNIVERSAL = ("every", "all")


def _scope_up(clause: Clause) -> bool:
    """Whether what follows the subject may be weakened."""
    return not clause.negated and clause.subject.determiner != "no"


def _phrase_up(clause: Clause, slot: str) -> bool:
    """Whether the noun phrase in ``slot`` may be weakened."""
    phrase = getattr(clause, slot)
    if phrase.determiner in REFERRING:
        return True
    if slot == "subject":
        return phrase.determiner in EXISTENTIAL
    return _scope_up(clause)


def rephrase(world: World, clause: Clause, rate: float = 0.6) -> Clause:
    """The same meaning in other words: synonyms, the other voice, the place in front or at the end."""
    dice = world.dice

    def other(word: Noun | Verb | Adjective) -> Noun | Verb | Adjective:
        options = world.words.synonyms(word)
        return dice.pick(options) if options and dice.chance(rate) else word

    def renamed(phrase: NounPhrase) -> NounPhrase:
        changes: dict[str, object] = {"noun": other(phrase.noun)}
        if phrase.adjective:
            changes["adjective"] = other(phrase.adjective)
        if phrase.place:
            inner = phrase.place.inner
            changes["place"] = replace(phrase.place, inner=replace(inner, noun=cast(Noun, other(inner.noun))))
        if phrase.relative:
            changes["relative"] = replace(phrase.relative, verb=cast(Verb, other(phrase.relative.verb)))
        return replace(phrase, **changes)  # type: ignore[arg-type]

    new = clause.but(subject=renamed(clause.subject))
    if clause.object:
        new = new.but(object=renamed(clause.object))
    if clause.verb:
        new = new.but(verb=other(clause.verb))
    if clause.quality:
        new = new.but(quality=other(clause.quality))
    if clause.place:
        inner = replace(clause.place.inner, noun=cast(Noun, other(clause.place.inner.noun)))
        new = new.but(place=replace(clause.place, inner=inner))
    if can_be_passive(clause) and dice.chance(rate / 3):
        new = new.but(passive=not clause.passive)
    return new


def _weaker_phrases(world: World, phrase: NounPhrase, up: bool, qualify: bool) -> list[NounPhrase]:
    """All single steps of a noun phrase: more general if ``up``, else more special.

    ``qualify`` allows a new adjective, which might collide with what the clause says.
    """
    noun = phrase.noun
    if not up:
        steps = []
        if noun.concept in lexicon.KINDS:
            special = world.dice.pick(world.words.nouns_for(noun.kind))
            steps.append(replace(phrase, noun=special))
        if phrase.adjective is None and qualify:
            options = world.words.adjectives_for(noun.sort)
            steps.append(replace(phrase, adjective=world.dice.pick(options)))
        return steps
    steps = []
    if noun.kind and noun.concept not in lexicon.KINDS:
        kind = lexicon.kind_nouns()[noun.kind]
        steps += [replace(phrase, noun=kind), replace(phrase, noun=lexicon.sort_nouns()[noun.sort])]
    elif noun.kind:
        steps.append(replace(phrase, noun=lexicon.sort_nouns()[noun.sort]))
    # The names of sorts are too general to be told apart by anything but their modifiers.
    for part in ("adjective", "place", "relative"):
        if getattr(phrase, part):
            steps.append(replace(phrase, **{part: None}))  # type: ignore[arg-type]
    return steps


def weakenings(world: World, clause: Clause) -> list[Clause]:
    """Clauses that follow from ``clause`` and do not imply it, one step away."""
    found = []
    for slot in ("subject", "object"):
        phrase = getattr(clause, slot)
        if phrase is None:
            continue
        steps = _weaker_phrases(world, phrase, _phrase_up(clause, slot), clause.quality is None)
        found += [clause.but(**{slot: step}) for step in steps]
    subject = clause.subject
    if subject.other:
        found.append(clause.but(subject=replace(subject, other=None)))
        found.append(clause.but(subject=subject.other))
    if _scope_up(clause):
        if clause.place:
            found.append(clause.but(place=None, fronted=False))
        if clause.manner:
            found.append(clause.but(manner=""))
        if subject.determiner in (*UNIVERSAL, "two") and not subject.other:
            determiner = "some" if subject.plural else "a"
            found.append(clause.but(subject=replace(subject, determiner=determiner)))
    elif not clause.place and clause.verb:
        found.append(clause.but(place=world.place(Style())))
    return found


def contradictions(world: World, clause: Clause) -> list[Clause]:
    """Clauses that cannot be true together with ``clause``, one step away."""
    found = []
    subject = clause.subject
    refers = subject.determiner in REFERRING
    object_refers = clause.object is None or clause.object.determiner in REFERRING
    if refers and (object_refers or not clause.passive):
        found.append(clause.but(negated=not clause.negated))
    none = subject.determiner in EXISTENTIAL[:2] or (refers and not clause.negated)
    if none and not clause.passive and not subject.other:
        found.append(clause.but(subject=replace(subject, determiner="no", plural=False)))
    if subject.determiner == "no":
        found.append(clause.but(subject=replace(subject, determiner="a")))
        found.append(clause.but(subject=replace(subject, determiner="some", plural=True)))
    if subject.determiner in UNIVERSAL:
        some = replace(subject, determiner="some", plural=True)
        found.append(clause.but(subject=some, negated=True))
    if not clause.negated and (refers or subject.determiner in UNIVERSAL):
        if clause.verb and clause.verb.opposite and object_refers and not clause.manner:
            opposites = [v for v in world.words.verbs if v.concept == clause.verb.opposite]
            found += [clause.but(verb=world.dice.pick(opposites))] * 2
        if clause.quality and clause.quality.opposite:
            found += [clause.but(quality=world.dice.pick(_opposites(world, clause.quality)))] * 2
    return found


def _opposites(world: World, quality: Adjective) -> list[Adjective]:
    if quality.opposite == "colour":
        pool = [a for a in world.words.adjectives if a.opposite == "colour" and a != quality]
        return pool or [a for a in lexicon.adjectives() if a.opposite == "colour" and a != quality]
    return [a for a in world.words.adjectives if a.concept == quality.opposite]


def unrelated(world: World, clause: Clause) -> list[Clause]:
    """Clauses that share much with ``clause``, and neither follow from it nor contradict it."""
    dice, found = world.dice, []
    for slot in ("subject", "object"):
        phrase = getattr(clause, slot)
        if phrase is None:
            continue
        places = [clause.verb.subject] if clause.verb and slot == "subject" else [phrase.noun.sort]
        if clause.verb and slot == "object":
            places = list(clause.verb.objects)
        options = [n for p in places for n in world.words.nouns_for(p) if n.concept != phrase.noun.concept]
        if phrase.noun.concept in (*lexicon.KINDS, *lexicon.NOUN_TABLE):
            options = [n for n in options if not fits(n, phrase.noun.concept)]
        if options:
            found.append(clause.but(**{slot: replace(phrase, noun=dice.pick(options))}))
    if clause.verb:
        target = clause.object.noun if clause.object else None
        near = [
            v
            for v in world.words.verbs_between(clause.subject.noun, target)
            if v.concept not in (clause.verb.concept, clause.verb.opposite)
        ]
        if near:
            found += [clause.but(verb=dice.pick(near))] * 2
    if clause.quality:
        options_q = [
            a
            for a in world.words.adjectives_for(clause.subject.noun.sort)
            if a.concept not in (clause.quality.concept, clause.quality.opposite)
            and not a.opposite == clause.quality.opposite == "colour"
        ]
        if options_q:
            found += [clause.but(quality=dice.pick(options_q))] * 2
    return found


def role_swap(clause: Clause) -> Clause | None:
    """Who does it to whom, turned round; None if that makes no sense."""
    verb, target = clause.verb, clause.object
    if verb is None or target is None or clause.subject.other:
        return None
    if not (fits(target.noun, verb.subject) and any(fits(clause.subject.noun, o) for o in verb.objects)):
        return None
    subject = clause.subject
    if not {subject.determiner, target.determiner} <= {"the", "a", "some", "two"}:
        return None
    return clause.but(subject=target, object=subject)
