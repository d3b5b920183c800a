"""A stress set for the inference task, after the design of HANS (McCoy, Pavlick and Linzen 2019).

In every pair the hypothesis is made of words of the premise: all in any order (lexical overlap), in a
row (subsequence), or a clause of its own (constituent). A quarter of each heuristic's pairs are entailed
all the same, the others are not: unlike in HANS, where both are halves and what a model gains on one by
leaning to it it loses on the other, leaning shows. Labels: 0 entailment, 1 not_entailment.
"""

from __future__ import annotations

from collections.abc import Callable

from multibench.pocket.corpus import FACTIVE, NONFACTIVE, attitude
from multibench.pocket.grammar import Clause, NounPhrase, Prepositional, Relative, sentence, spell
from multibench.pocket.lexicon import Noun, Verb
from multibench.pocket.world import Style, Words, World, fits, stream

__all__ = ["HEURISTICS", "SUBCASES", "stress"]

Pair = tuple[list[str], list[str]]
PLAIN = Style(
    quantified=0.0,
    indefinite=0.0,
    hypernym=0.0,
    adjective=0.0,
    near=0.0,
    copular=0.0,
    negated=0.0,
    passive=0.0,
    manner=0.0,
)


def _being(world: World, *others: NounPhrase, person: bool = False) -> NounPhrase:
    taken = {o.noun.concept for o in others}
    pool = [n for n in world.words.nouns_for("person" if person else "being") if n.concept not in taken]
    return NounPhrase(world.dice.pick(pool), world.dice.chance(0.5))


def _beings(world: World, count: int) -> list[NounPhrase]:
    found: list[NounPhrase] = []
    for _ in range(count):
        found.append(_being(world, *found, person=True))
    return found


def _verbs(world: World, *beings: NounPhrase, count: int = 1) -> list[Verb]:
    """Verbs with any of ``beings`` as subject and any as object, of different concepts."""
    pool = [
        v
        for v in world.words.verbs_with(True)
        if all(fits(b.noun, v.subject) and any(fits(b.noun, o) for o in v.objects) for b in beings)
    ]
    found: list[Verb] = []
    while len(found) < count:
        verb = world.dice.pick(pool)
        if verb.concept not in {v.concept for v in found}:
            found.append(verb)
    return found


def _acts(world: World, being: NounPhrase) -> Verb:
    noun: Noun = being.noun
    return world.dice.pick([v for v in world.words.verbs_with(False) if fits(noun, v.subject)])


def _modified(phrase: NounPhrase, **changes: object) -> NounPhrase:
    return NounPhrase(phrase.noun, phrase.plural, **changes)  # type: ignore[arg-type]


def _transitive(world: World, subject: str, hypothesis: tuple[str, str], passive: bool = False) -> Pair:
    """A premise about x, y and z, and a hypothesis of the same verb about two of them."""
    x, y, z = _beings(world, 3)
    act, inner = _verbs(world, x, y, z, count=2)
    phrase = {
        "plain": x,
        "near": _modified(x, place=Prepositional("near", y)),
        "who": _modified(x, relative=Relative(inner, y, "subject")),
        "whom": _modified(x, relative=Relative(inner, y, "object")),
        "and": _modified(x, other=y),
    }[subject]
    named = {"x": x, "y": y, "z": z}
    verb = inner if set(hypothesis) == {"x", "y"} and subject in ("who", "whom") else act
    target = y if subject == "plain" else z
    premise = spell(Clause(phrase, act, target, passive=passive))
    return premise, spell(Clause(named[hypothesis[0]], verb, named[hypothesis[1]]))


def _intransitive(world: World, subject: str, who: str) -> Pair:
    """A premise "x (modified by y) acts" and the hypothesis that one of them acts."""
    x, y = _beings(world, 2)
    inner = _verbs(world, x, y)[0]
    act = _acts(world, x)
    phrase = {
        "near": _modified(x, place=Prepositional("near", y)),
        "who": _modified(x, relative=Relative(inner, y, "subject")),
        "and": _modified(x, other=y),
        "adjective": _modified(x, adjective=world.dice.pick(world.words.adjectives_for("person"))),
    }[subject]
    return spell(Clause(phrase, act)), spell(Clause(x if who == "x" else y, act))


def _with_ending(world: World, ending: str) -> Pair:
    """A premise that goes on after what the hypothesis says."""
    x, y, z = _beings(world, 3)
    act, inner = _verbs(world, x, y, z, count=2)
    if ending == "place":
        verb = _acts(world, x)
        return spell(Clause(x, verb, place=world.place(PLAIN))), spell(Clause(x, verb))
    target = _modified(y, relative=Relative(inner, z, "object"))
    return spell(Clause(x, act, target)), spell(Clause(x, act, y))


def _embedded(world: World, frame: str) -> Pair:
    """A premise that holds two clauses, or one inside an attitude, and one of these clauses."""
    dice = world.dice
    first, second = (spell(world.clause(PLAIN)) for _ in range(2))
    holder = _being(world, person=True)
    if frame in ("if", "unless"):
        return [frame, *first, ",", *second], first
    if frame == "consequence":
        return ["if", *first, ",", *second], second
    if frame == "believes":
        return attitude(holder, dice.pick(NONFACTIVE), first), first
    if frame == "perhaps":
        return [dice.pick(("perhaps", "maybe")), *first], first
    if frame == "knows":
        return attitude(holder, dice.pick(FACTIVE), first), first
    if frame == "so":
        return [dice.pick(("so", "therefore")), *first], first
    return [*first, "and", *second], first if frame == "and_first" else second


# heuristic -> label -> subcase -> how to make a pair.
SUBCASES: dict[str, dict[str, dict[str, Callable[[World], Pair]]]] = {
    "lexical_overlap": {
        "entailment": {
            "le_around_prepositional_phrase": lambda w: _transitive(w, "near", ("x", "z")),
            "le_around_relative_clause": lambda w: _transitive(w, "who", ("x", "z")),
            "le_conjunction": lambda w: _transitive(w, "and", ("y", "z")),
            "le_passive": lambda w: _transitive(w, "plain", ("x", "y"), passive=True),
            "le_relative_clause": lambda w: _transitive(w, "whom", ("y", "x")),
        },
        "not_entailment": {
            "ln_conjunction": lambda w: _transitive(w, "and", ("x", "y")),
            "ln_passive": lambda w: _transitive(w, "plain", ("y", "x"), passive=True),
            "ln_preposition": lambda w: _transitive(w, "near", ("z", "x")),
            "ln_relative_clause": lambda w: _transitive(w, "who", ("y", "z")),
            "ln_subject_object_swap": lambda w: _transitive(w, "plain", ("y", "x")),
        },
    },
    "subsequence": {
        "entailment": {
            "se_adjective": lambda w: _intransitive(w, "adjective", "x"),
            "se_conjunction": lambda w: _intransitive(w, "and", "y"),
            "se_place_at_end": lambda w: _with_ending(w, "place"),
            "se_relative_clause_on_object": lambda w: _with_ending(w, "relative"),
        },
        "not_entailment": {
            "sn_prepositional_phrase_on_subject": lambda w: _intransitive(w, "near", "y"),
            "sn_relative_clause_on_subject": lambda w: _intransitive(w, "who", "y"),
        },
    },
    "constituent": {
        "entailment": {
            "ce_after_and": lambda w: _embedded(w, "and_second"),
            "ce_before_and": lambda w: _embedded(w, "and_first"),
            "ce_embedded_under_knows": lambda w: _embedded(w, "knows"),
            "ce_so": lambda w: _embedded(w, "so"),
        },
        "not_entailment": {
            "cn_after_if": lambda w: _embedded(w, "consequence"),
            "cn_embedded_under_believes": lambda w: _embedded(w, "believes"),
            "cn_embedded_under_if": lambda w: _embedded(w, "if"),
            "cn_perhaps": lambda w: _embedded(w, "perhaps"),
            "cn_unless": lambda w: _embedded(w, "unless"),
        },
    },
}
HEURISTICS = tuple(SUBCASES)
QUARTERS = {"entailment": 1, "not_entailment": 3}


def stress(seed: int, count: int) -> list[dict[str, object]]:
    """Rows as the inference task's, with heuristic and subcase; ``count`` divides by 12.

    Each heuristic has `QUARTERS` of its pairs with each label; within them subcases take turns.
    """
    world = World(stream("stress", seed), Words.part("dev"))
    rows: list[dict[str, object]] = []
    for heuristic, by_label in SUBCASES.items():
        for label, (label_name, subcases) in enumerate(by_label.items()):
            seen: set[tuple[str, str]] = set()
            names = list(subcases)
            while len(seen) < count // 12 * QUARTERS[label_name]:
                name = names[len(seen) % len(names)]
                premise, hypothesis = (sentence(words) for words in subcases[name](world))
                if (premise, hypothesis) in seen:
                    continue
                seen.add((premise, hypothesis))
                row = {"premise": premise, "hypothesis": hypothesis, "label": label}
                rows.append({**row, "heuristic": heuristic, "subcase": name})
    return rows
