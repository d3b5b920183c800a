"""The inference task: does the hypothesis follow from the premise? And its stress set.

Labels are those of MNLI. Every label is reached in several ways, so that no word gives it away:
negation stands in premises and hypotheses of all labels, and half of the neutral pairs are
entailments read backwards.
"""

from __future__ import annotations

from dataclasses import replace

from multibench.pocket import lexicon, logic
from multibench.pocket.grammar import Clause, sentence, spell
from multibench.pocket.world import REFERRING, Style, Words, World, stream

__all__ = ["LABELS", "MATCHED", "MISMATCHED", "inference"]

LABELS = ("entailment", "neutral", "contradiction")
# What the mismatched dev set is made of does not occur in training: relative clauses, coordination,
# fronted places; passives are rare there.
MATCHED = Style(near=0.12, adjective=0.35, passive=0.08)
MISMATCHED = Style(
    near=0.0, relative=0.3, coordinated=0.35, fronted=0.6, passive=0.35, place=0.4, copular=0.1
)
RENAMED_SHARE = 0.75  # of single steps to a more general meaning
KIND_SHARE = 0.4  # of unrelated hypotheses name another kind
SYNONYMS = 0.7  # of words that have any
SWAP_SHARE = 0.06  # of neutral pairs: few enough that word overlap is a tempting heuristic


def inference(split: str, seed: int, count: int) -> list[dict[str, object]]:
    """Rows with premise, hypothesis and label, all different, labels equally frequent."""
    words = Words.part("train" if split == "train" else "dev")
    world = World(stream("inference", split, seed), words)
    style = MISMATCHED if split == "dev_mismatched" else MATCHED
    rows: list[dict[str, object]] = []
    seen = set()
    while len(rows) < count:
        label = len(rows) % 3
        pair = _pair(world, style, LABELS[label])
        if pair is None:
            continue
        premise, hypothesis = (sentence(spell(clause)) for clause in pair)
        if premise == hypothesis or (premise, hypothesis) in seen:
            continue
        seen.add((premise, hypothesis))
        rows.append({"premise": premise, "hypothesis": hypothesis, "label": label})
    return world.dice.shuffled(rows)


def _pair(world: World, style: Style, label: str) -> tuple[Clause, Clause] | None:
    dice = world.dice
    clause = world.clause(style)
    if label == "entailment":
        weaker = _weakened(world, clause, (0, 1, 1, 2))
        return clause, logic.rephrase(world, weaker, SYNONYMS)
    if label == "contradiction":
        options = logic.contradictions(world, _weakened(world, clause, (0, 0, 1)))
        if not options:
            return None
        pair = clause, logic.rephrase(world, dice.pick(options), SYNONYMS)
        # Contradiction has no direction, so the general words may come first as well.
        return pair if dice.chance(0.6) else (pair[1], pair[0])
    if dice.chance(SWAP_SHARE):
        swapped = logic.role_swap(clause)
        return (clause, swapped) if swapped else None
    if dice.chance(0.5):
        weaker = _weakened(world, clause, (1, 1, 2))
        return None if weaker == clause else (logic.rephrase(world, weaker, SYNONYMS), clause)
    other = _weakened(world, clause, (0, 0, 1))
    options = logic.unrelated(world, other)
    if dice.chance(KIND_SHARE):
        options = _of_another_kind(world, other)
    if not options:
        return None
    return clause, _sometimes_denied(world, logic.rephrase(world, dice.pick(options), SYNONYMS))


def _of_another_kind(world: World, clause: Clause) -> list[Clause]:
    """``clause`` about another kind of thing, so that the name of a kind alone means nothing."""
    found = []
    for slot in ("subject", "object"):
        phrase = getattr(clause, slot)
        if phrase is None or phrase.noun.concept in lexicon.NOUN_TABLE:
            continue
        sort = phrase.noun.sort
        kinds = [k for k, noun in lexicon.kind_nouns().items() if noun.sort == sort and k != phrase.noun.kind]
        kind = lexicon.kind_nouns()[world.dice.pick(kinds)]
        found.append(clause.but(**{slot: replace(phrase, noun=kind)}))
    return found


def _weakened(world: World, clause: Clause, steps: tuple[int, ...]) -> Clause:
    for _ in range(world.dice.pick(steps)):
        options = logic.weakenings(world, clause)
        # Most steps change a word: if they dropped or added some, length would give the label away.
        renamed = [option for option in options if len(spell(option)) == len(spell(clause))]
        if renamed and world.dice.chance(RENAMED_SHARE):
            options = renamed
        clause = world.dice.pick(options) if options else clause
    return clause


def _sometimes_denied(world: World, clause: Clause) -> Clause:
    """What is unrelated stays so when denied; without this a negation would mean contradiction."""
    if clause.subject.determiner in REFERRING and not clause.passive and world.dice.chance(0.4):
        return clause.but(negated=not clause.negated)
    if clause.subject.determiner in ("a", "some") and not clause.passive and world.dice.chance(0.4):
        return clause.but(subject=replace(clause.subject, determiner="no", plural=False, other=None))
    return clause
