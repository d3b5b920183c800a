"""The text that the family is pretrained on: documents of sentences that stay with one subject.

Five kinds of document: stories tell who does what to whom within a small cast, again and again in
other words; lessons say what is what (*every sparrow is a bird*); habits tell what few, many or no
members of a kind ever do; glossaries give words that mean the same and words that exclude each other;
arguments draw conclusions (*so*, *that is*), deny (*it is false that*) and guess (*perhaps*). Nothing
else teaches the models what the words mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from multibench.pocket import lexicon, logic
from multibench.pocket.grammar import (
    PLURAL_ONLY,
    SINGULAR_ONLY,
    Clause,
    NounPhrase,
    noun_phrase,
    question,
    sentence,
    spell,
)
from multibench.pocket.lexicon import Adjective, Noun, Verb
from multibench.pocket.world import Dice, Style, Words, World, fits, stream

__all__ = [
    "EVER_AFTER",
    "FACTIVE",
    "NONFACTIVE",
    "RICH",
    "VOLUME",
    "attitude",
    "documents",
    "habit",
    "story_facts",
]

FACTIVE = ("knows", "realizes", "remembers", "forgets")
NONFACTIVE = ("believes", "thinks", "hopes", "claims")
BASE_FORM = {"realizes": "realize", **{v: v[:-1] for v in (*FACTIVE, *NONFACTIVE) if v != "realizes"}}
VOLUME = 15  # documents
CUSTOM = 0.7  # of the words that are chosen with others around them
EVER_AFTER = ("no", "few")  # determiners that license "ever" without a negation
RICH = Style(relative=0.12, coordinated=0.12, near=0.1, fronted=0.2, passive=0.3)


def documents(seed: int, count: int) -> Iterator[list[str]]:
    """``count`` documents, each a list of sentences; equal seeds give equal text.

    `VOLUME` documents in a row make a volume: they share a small part of the lexicon, so that two
    sentences of different documents may well speak of the same things without belonging together.
    """
    for index in range(count):
        if index % VOLUME == 0:
            dice = stream("corpus", seed, index)
            world = World(dice, Words.part("all").excerpt(dice), CUSTOM)
        kind = dice.uniform()
        if kind < 0.4:
            yield _story(world)
        elif kind < 0.5:
            yield _lesson(World(dice, Words.part("all")))
        elif kind < 0.65:
            yield _glossary(World(dice, Words.part("all")))
        elif kind < 0.72:
            yield _habits(world)
        else:
            yield _argument(world)


def _cast(world: World) -> list[NounPhrase]:
    """Three or four distinct participants, the first one a person or an animal."""
    dice = world.dice
    cast: list[NounPhrase] = []
    for sort in ("being", dice.pick(("being", "thing")), "thing", "being")[: 3 + dice.chance(0.5)]:
        noun = dice.pick(world.words.nouns_for(sort))
        if noun.concept in {c.noun.concept for c in cast}:
            continue
        adjective = world.choose(world.words.adjectives_for(noun.sort), noun) if dice.chance(0.3) else None
        cast.append(NounPhrase(noun, dice.chance(0.4), adjective=adjective))
    return cast


def story_facts(world: World, count: int) -> list[Clause]:
    """Up to ``count`` facts about one cast; no two share subject and object, or verb concept."""
    dice, cast = world.dice, _cast(world)
    facts: list[Clause] = []
    for _ in range(count * 4):
        if len(facts) == count:
            break
        subject = dice.pick(cast)
        options = [c for c in cast if c is not subject]
        target = dice.pick(options) if options and dice.chance(0.75) else None
        fact = _fact(world, subject, target)
        if fact is not None and all(_compatible(fact, other) for other in facts):
            facts.append(fact)
    return facts


def _fact(world: World, subject: NounPhrase, target: NounPhrase | None) -> Clause | None:
    dice = world.dice
    place = world.place(Style(), subject.noun) if dice.chance(0.4) else None
    if target is None and dice.chance(0.35):
        options = world.words.adjectives_for(subject.noun.sort)
        return Clause(replace(subject, adjective=None), quality=world.choose(options, subject.noun))
    verbs = world.words.verbs_between(subject.noun, target.noun if target else None)
    if not verbs:
        return None
    verb = world.choose(verbs, subject.noun, target.noun if target else None)
    return Clause(subject, verb, target, place=place)


def _compatible(fact: Clause, other: Clause) -> bool:
    if fact.verb is None or other.verb is None:
        return fact.subject != other.subject or fact.quality is None or other.quality is None
    if other.verb.concept in (fact.verb.concept, fact.verb.opposite):
        return False
    return (fact.subject, fact.object) != (other.subject, other.object)


def _story(world: World) -> list[str]:
    dice, told = world.dice, []
    count = 2 + dice.chance(0.6) + dice.chance(0.4)
    facts = story_facts(world, count)
    while not facts:
        facts = story_facts(world, count)
    for fact in facts:
        introduced = fact
        if dice.chance(0.2) and not fact.subject.plural:
            introduced = fact.but(subject=replace(fact.subject, determiner="a"))
        told.append(sentence(spell(logic.rephrase(world, introduced, 0.3))))
        for _ in range(1 + dice.chance(0.4)):
            told.append(_retold(world, fact))
    return told


def _retold(world: World, fact: Clause) -> str:
    """A fact again: in other words, more generally, by denying its opposite, or asked and answered."""
    dice, way = world.dice, world.dice.uniform()
    if way < 0.2 and fact.verb:
        asked = dice.pick(
            ("subject", "object" if fact.object else "subject", "place" if fact.place else "subject")
        )
        singular = fact.but(subject=replace(fact.subject, plural=False)) if asked == "subject" else fact
        query = logic.rephrase(world, singular, 0.5).but(passive=False)
        answer = {"subject": fact.subject, "object": fact.object}.get(asked)
        if asked == "place":
            assert fact.place is not None
            words = [fact.place.preposition, *noun_phrase(fact.place.inner)]
        else:
            assert answer is not None
            words = noun_phrase(answer)
        return sentence(question(query, asked), "?") + " " + sentence(words)
    if way < 0.35 and fact.verb and fact.verb.opposite:
        verbs = [v for v in world.words.verbs if v.concept == fact.verb.opposite]
        return sentence(spell(fact.but(verb=dice.pick(verbs), negated=True)))
    if way < 0.65:
        steps = logic.weakenings(world, fact)
        if steps:
            return sentence(spell(logic.rephrase(world, dice.pick(steps), 0.4)))
    return sentence(spell(logic.rephrase(world, fact, 0.7)))


def _lesson(world: World) -> list[str]:
    """What is what: kinds, sorts and synonyms of a few nouns of one kind."""
    dice = world.dice
    kind = dice.pick(list(lexicon.KINDS))
    members = world.words.nouns_for(kind)
    above = lexicon.kind_nouns()[kind]
    told = []
    for _ in range(3 + dice.chance(0.5)):
        noun = dice.pick(members)
        other = lexicon.kind_nouns()[dice.pick(list(lexicon.KINDS))]
        told.append(_truth(dice, noun, above, other, world))
    told.append(_is_a(NounPhrase(above, True, "all"), lexicon.sort_nouns()[above.sort]))
    return dice.shuffled(told)


def _truth(dice: Dice, noun: Noun, above: Noun, other: Noun, world: World) -> str:
    plural = dice.chance(0.5)
    every = NounPhrase(noun, plural, "all" if plural else dice.pick(("every", "a")))
    way = dice.uniform()
    if way < 0.4:
        return _is_a(every, above)
    if way < 0.55:
        return _is_a(every, lexicon.sort_nouns()[noun.sort])
    if way < 0.7 and other != above:
        return _is_a(NounPhrase(noun, False, "no"), other)
    synonyms = [w for w in world.words.synonyms(noun) if isinstance(w, Noun)]
    if synonyms:
        return _is_a(every, dice.pick(synonyms))
    return _is_a(NounPhrase(above, True, "some"), noun)


def _glossary(world: World) -> list[str]:
    """Words with what they mean (*dirty, that is, filthy*) and what they do not (*dirty, not clean*)."""
    words, dice = world.words, world.dice
    told: list[str] = []
    while len(told) < 5:
        pool: tuple[Noun | Verb | Adjective, ...] = dice.pick((words.nouns, words.verbs, words.adjectives))
        entry = dice.pick(pool)
        excluded = not isinstance(entry, Noun) and dice.chance(0.35)
        others: Sequence[Noun | Verb | Adjective] = words.synonyms(entry)
        if excluded and not isinstance(entry, Noun):
            others = words.opposites(entry)
        if others:
            form = dice.pick((0, 1, 2))
            one, other = _form(entry, form), _form(dice.pick(others), form)
            told.append(sentence([one, ",", *(["not"] if excluded else ["that", "is", ","]), other]))
    return told


def _form(word: Noun | Verb | Adjective, index: int) -> str:
    """One of the forms of a word, the same one for equal ``index`` and part of speech."""
    if isinstance(word, Noun):
        forms = [word.singular, word.plural]
    elif isinstance(word, Verb):
        forms = [word.base, word.third, word.participle or word.base]
    else:
        forms = [word.word]
    return forms[index % len(forms)]


def _habits(world: World) -> list[str]:
    """What many, few or no members of one kind do."""
    noun = world.dice.pick(world.words.nouns_for(world.dice.pick(("being", "being", "thing"))))
    return [sentence(spell(habit(world, noun))) for _ in range(4)]


def habit(world: World, noun: Noun) -> Clause:
    """A clause about ``noun`` with any determiner, and *ever* where something licenses it."""
    dice = world.dice
    plural = dice.chance(0.5)
    subject = NounPhrase(noun, plural, dice.pick(PLURAL_ONLY if plural else SINGULAR_ONLY))
    verbs = [v for t in (True, False) for v in world.words.verbs_with(t) if fits(noun, v.subject)]
    if dice.chance(0.25) or not verbs:
        clause = Clause(subject, quality=world.choose(world.words.adjectives_for(noun.sort), noun))
    else:
        verb = world.choose(verbs, noun)
        target = world.phrase(verb.objects, RICH, subject=False, verb=verb) if verb.objects else None
        clause = Clause(subject, verb, target)
    if subject.determiner in ("this", "these", "many", "most", "two", "three"):
        clause = clause.but(negated=dice.chance(0.4))
    licensed = clause.negated or subject.determiner in EVER_AFTER
    return clause.but(ever=licensed and dice.chance(0.6))


def _is_a(subject: NounPhrase, noun: Noun) -> str:
    return sentence(spell(Clause(subject, category=noun)))


def attitude(holder: NounPhrase, verb: str, inner: list[str]) -> list[str]:
    """A report: *the judge believes that*, then the words of a clause."""
    return [*noun_phrase(holder), BASE_FORM[verb] if holder.plural else verb, "that", *inner]


def _argument(world: World) -> list[str]:
    dice = world.dice
    clause = world.clause(RICH)
    if dice.chance(0.15):
        return _about_attitudes(world, clause)
    told = [sentence(spell(clause))]
    for _ in range(2 + dice.chance(0.5)):
        way = dice.uniform()
        if way < 0.3:
            told.append(_marked(dice, ("so", "therefore"), _entailed(world, clause)))
        elif way < 0.5:
            told.append(_marked(dice, ("that is ,", "in other words ,"), logic.rephrase(world, clause, 0.8)))
        elif way < 0.75:
            told.append(_denied(world, clause))
        else:
            options = logic.unrelated(world, clause)
            swapped = logic.role_swap(clause)
            if swapped and dice.chance(0.4):
                options = [swapped]
            if options:
                told.append(
                    _marked(dice, ("perhaps", "maybe"), logic.rephrase(world, dice.pick(options), 0.4))
                )
    return told


def _entailed(world: World, clause: Clause) -> Clause:
    for _ in range(1 + world.dice.chance(0.4)):
        steps = logic.weakenings(world, clause)
        clause = world.dice.pick(steps) if steps else clause
    return logic.rephrase(world, clause, 0.5)


def _denied(world: World, clause: Clause) -> str:
    options = logic.contradictions(world, clause)
    if not options:
        return _marked(world.dice, ("so", "therefore"), _entailed(world, clause))
    wrong = logic.rephrase(world, world.dice.pick(options), 0.4)
    return _marked(world.dice, ("it is false that", "it is not true that"), wrong)


def _marked(dice: Dice, markers: tuple[str, ...], clause: Clause) -> str:
    return sentence([dice.pick(markers), *spell(clause)])


def _about_attitudes(world: World, clause: Clause) -> list[str]:
    """Knowing that something is so implies it, as does *and*; believing or a condition does not."""
    dice = world.dice
    inner = spell(clause)
    holder = NounPhrase(dice.pick(world.words.nouns_for("person")), dice.chance(0.4))
    way = dice.uniform()
    if way < 0.45:
        factive = attitude(holder, dice.pick(FACTIVE), inner)
        both = [*inner, "and", *spell(world.clause(Style(quantified=0.0)))]
        told = [sentence(factive if dice.chance(0.6) else both)]
        return [*told, _marked(dice, ("so", "therefore"), _entailed(world, clause))]
    if way < 0.7:
        told = [sentence(attitude(holder, dice.pick(NONFACTIVE), inner))]
    else:
        then = world.clause(Style(quantified=0.0))
        told = [sentence([dice.pick(("if", "unless")), *inner, ",", *spell(then)])]
        clause = dice.pick((clause, then))
    return [*told, _marked(dice, ("perhaps", "maybe"), logic.rephrase(world, clause, 0.3))]
