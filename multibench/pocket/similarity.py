"""The similarity task: how much of their meaning two sentences share, from 0 to 5 as in STS-B."""

from __future__ import annotations

from multibench.pocket import lexicon, logic
from multibench.pocket.grammar import Clause, NounPhrase, sentence, spell
from multibench.pocket.lexicon import Noun
from multibench.pocket.world import Style, Words, World, stream

__all__ = ["alike", "similarity"]

SYNONYMS = 0.85  # of words that have any: equal words must not measure equal meaning
STYLE = Style(
    quantified=0.0, indefinite=0.15, adjective=0.35, near=0.0, manner=0.0, negated=0.12, passive=0.15
)
ALIKE_KIND, ALIKE_SORT, ABOVE_KIND, ABOVE_SORT, ALIKE_OPPOSITE = 0.5, 0.2, 0.7, 0.5, 0.3


def _nouns_alike(a: Noun, b: Noun) -> float:
    if a.concept == b.concept:
        return 1.0
    if a.sort != b.sort:
        return 0.0
    sorts, kinds = lexicon.NOUN_TABLE, lexicon.KINDS
    if a.concept in sorts or b.concept in sorts:
        return ABOVE_SORT
    if a.concept in kinds or b.concept in kinds:
        return ABOVE_KIND if a.kind == b.kind else ALIKE_SORT
    return ALIKE_KIND if a.kind == b.kind else ALIKE_SORT


def _phrases_alike(a: NounPhrase | None, b: NounPhrase | None) -> list[tuple[float, float]]:
    """(weight, likeness) of head nouns and of adjectives; what only one side has is not shared."""
    if a is None or b is None:
        return [(2.0, 0.0)] if a or b else []
    parts = [(2.0, _nouns_alike(a.noun, b.noun))]
    if a.adjective or b.adjective:
        same = a.adjective and b.adjective and a.adjective.concept == b.adjective.concept
        parts.append((0.6, 1.0 if same else 0.0))
    return parts


def alike(a: Clause, b: Clause) -> float:
    """Shared meaning in [0, 5]: the weighted mean of the likeness of subjects, predicates, objects,
    adjectives and places. Opposite predicates share 0.3, one negation of two leaves 0.4 of theirs.
    """
    parts = _phrases_alike(a.subject, b.subject) + _phrases_alike(a.object, b.object)
    said, meant = (a.verb or a.quality, b.verb or b.quality)
    same = 0.0
    if said and meant and type(said) is type(meant):
        if said.concept == meant.concept:
            same = 1.0
        elif said.concept == meant.opposite or said.opposite == meant.opposite == "colour":
            same = ALIKE_OPPOSITE
    parts.append((2.4, same * (0.4 if a.negated != b.negated else 1.0)))
    if a.place or b.place:
        both = a.place and b.place
        parts.append((0.8, _nouns_alike(a.place.inner.noun, b.place.inner.noun) if both else 0.0))  # type: ignore[union-attr]
    return 5.0 * sum(w * s for w, s in parts) / sum(w for w, _ in parts)


def similarity(split: str, seed: int, count: int) -> list[dict[str, object]]:
    """Rows with sentence1, sentence2 and a score in steps of 0.2, spread over the whole range."""
    world = World(stream("similarity", split, seed), Words.part("train" if split == "train" else "dev"))
    rows: list[dict[str, object]] = []
    seen = set()
    while len(rows) < count:
        first = world.clause(STYLE)
        second = _edited(world, first, len(rows) % 6)
        texts = sentence(spell(first)), sentence(spell(logic.rephrase(world, second, SYNONYMS)))
        if texts[0] == texts[1] or texts in seen:
            continue
        seen.add(texts)
        if world.dice.chance(0.5):
            texts = texts[1], texts[0]
        score = round(round(alike(first, second) * 5) / 5, 1)
        rows.append({"sentence1": texts[0], "sentence2": texts[1], "score": score})
    return world.dice.shuffled(rows)


def _edited(world: World, clause: Clause, edits: int) -> Clause:
    """``clause`` with so many changes of meaning; with five, another clause altogether."""
    if edits == 5:
        return world.clause(STYLE)
    for _ in range(edits):
        ways = [logic.weakenings(world, clause), logic.unrelated(world, clause)]
        ways.append([c for c in logic.contradictions(world, clause) if c.subject.determiner != "no"])
        swapped = logic.role_swap(clause)
        ways.append([swapped] if swapped else [])
        options = world.dice.pick([way for way in (ways[0], ways[0], ways[1], ways[1], *ways[2:]) if way])
        clause = world.dice.pick(options)
    return clause
