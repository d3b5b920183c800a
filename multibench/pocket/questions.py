"""The question task: a short story, a question, and the words that answer it, if there are any.

Questions use other words than the story: synonyms, the other voice, the name of the kind. Every third
cannot be answered: the story tells of the same participants, but not this about them.
"""

from __future__ import annotations

from dataclasses import replace

from multibench.pocket import lexicon, logic
from multibench.pocket.corpus import story_facts
from multibench.pocket.grammar import Clause, NounPhrase, noun_phrase, question, sentence, spell
from multibench.pocket.world import Words, World, fits, stream

__all__ = ["questions"]


def questions(split: str, seed: int, count: int) -> list[dict[str, object]]:
    """Rows with context, question and answers {text, answer_start}, as in SQuAD v2.0.

    Offsets count characters. ``answers`` holds empty lists where there is no answer; the dev split
    also accepts a place without its preposition.
    """
    world = World(stream("questions", split, seed), Words.part("train" if split == "train" else "dev"))
    rows: list[dict[str, object]] = []
    seen = set()
    while len(rows) < count:
        row = _row(world, answerable=len(rows) % 3 > 0, alternatives=split != "train")
        if row is None or (row["context"], row["question"]) in seen:
            continue
        seen.add((row["context"], row["question"]))
        rows.append(row)
    return world.dice.shuffled(rows)


def _row(world: World, *, answerable: bool, alternatives: bool) -> dict[str, object] | None:
    dice = world.dice
    facts = story_facts(world, 3 + dice.chance(0.5))
    told = [logic.rephrase(world, fact, 0.3) for fact in facts]
    candidates = [i for i, fact in enumerate(facts) if fact.verb]
    if len(facts) < 3 or not candidates:
        return None
    index = dice.pick(candidates)
    fact = facts[index]
    slots = ["subject", *(["object"] if fact.object else []), *(["place"] if fact.place else [])]
    asked = dice.pick(slots)
    wanted = fact if answerable else _not_told(world, facts, fact, asked)
    if wanted is None:
        return None
    starts, text = [], ""
    for clause in told:
        starts.append(len(text))
        text += sentence(spell(clause)) + " "
    context = text.rstrip()
    query = sentence(question(_asking(world, wanted, asked), asked), "?")
    answers: list[str] = []
    if answerable:
        answers = _answers(told[index], asked)[: 2 if alternatives else 1]
    offsets = [context.index(answer, starts[index]) for answer in answers]
    return {"context": context, "question": query, "answers": {"text": answers, "answer_start": offsets}}


def _asking(world: World, fact: Clause, asked: str) -> Clause:
    """``fact`` in the words of a question: the asked phrase is gone, the others are renamed."""
    clause = fact.but(passive=False, fronted=False)
    if asked == "subject":
        clause = clause.but(subject=replace(clause.subject, plural=False))
    if asked != "place" and world.dice.chance(0.6):
        clause = clause.but(place=None)
    if clause.object and world.dice.chance(0.15):
        clause = clause.but(object=_general(clause.object))
    elif asked != "subject" and world.dice.chance(0.15):
        clause = clause.but(subject=_general(clause.subject))
    return logic.rephrase(world, clause, 0.5).but(passive=False)


def _general(phrase: NounPhrase) -> NounPhrase:
    return replace(phrase, noun=lexicon.kind_nouns()[phrase.noun.kind], adjective=None)


def _answers(told: Clause, asked: str) -> list[str]:
    if asked == "place":
        assert told.place is not None
        inner = noun_phrase(told.place.inner)
        return [" ".join([told.place.preposition, *inner]), " ".join(inner)]
    return [" ".join(noun_phrase(getattr(told, asked)))]


def _not_told(world: World, facts: list[Clause], fact: Clause, asked: str) -> Clause | None:
    """A clause about the story's participants that no fact answers: another verb or partner, or the
    same two the other way round.
    """
    dice = world.dice
    cast = {p.noun.concept: p for f in facts for p in (f.subject, f.object) if p}
    people = list(cast.values())
    told_verbs = {f.verb.concept for f in facts if f.verb}
    clause = fact.but(place=fact.place if asked == "place" else None)
    way = dice.uniform()
    if way < 0.4:
        between = world.words.verbs_between(fact.subject.noun, fact.object.noun if fact.object else None)
        verbs = [v for v in between if v.concept not in told_verbs]
        return clause.but(verb=dice.pick(verbs)) if verbs else None
    if way < 0.7:
        swapped = logic.role_swap(clause)
        return swapped.but(passive=False) if swapped else None
    # Another partner in the slot that the question names; asking where names both.
    slot = "object" if asked == "subject" else "subject"
    assert fact.verb is not None
    if getattr(fact, slot) is None:
        return None
    wanted = fact.verb.objects if slot == "object" else (fact.verb.subject,)
    others = [
        p for p in people if p not in (fact.subject, fact.object) and any(fits(p.noun, w) for w in wanted)
    ]
    return clause.but(**{slot: dice.pick(others)}) if others else None
