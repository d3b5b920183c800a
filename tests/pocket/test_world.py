"""The world: forms, agreement, meaning-preserving edits, and the corpus."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from multibench.pocket import lexicon, logic, vocabulary
from multibench.pocket.batches import IGNORED, batches, encoded_corpus
from multibench.pocket.corpus import VOLUME, documents
from multibench.pocket.grammar import Clause, NounPhrase, Prepositional, Relative, question, sentence, spell
from multibench.pocket.inference import MATCHED, MISMATCHED
from multibench.pocket.similarity import alike
from multibench.pocket.world import Style, Words, World, stream
from tests.pocket.recogniser import accepts

NOUN = {
    n.singular: n for n in (*lexicon.nouns(), *lexicon.kind_nouns().values(), *lexicon.sort_nouns().values())
}
VERB = {v.base: v for v in lexicon.verbs()}
ADJECTIVE = {a.word: a for a in lexicon.adjectives()}


def the(word: str, plural: bool = False) -> NounPhrase:
    return NounPhrase(NOUN[word], plural)


def said(clause: Clause) -> str:
    return sentence(spell(clause))


def test_every_word_has_one_spelling_and_one_part_of_speech() -> None:
    forms = [w for n in NOUN.values() for w in (n.singular, n.plural)]
    forms += [a.word for a in lexicon.adjectives()]
    forms += sorted({w for v in lexicon.verbs() for w in (v.base, v.third)})
    assert len(forms) == len(set(forms))
    assert all(form.isalpha() and form.islower() for form in forms)
    assert all(form in vocabulary.load() for form in forms)


@pytest.mark.parametrize(
    ("word", "plural"),
    [
        ("bus", "buses"),
        ("cherry", "cherries"),
        ("donkey", "donkeys"),
        ("wolf", "wolves"),
        ("axe", "axes"),
        ("church", "churches"),
    ],
)
def test_plurals(word: str, plural: str) -> None:
    assert NOUN[word].plural == plural


def test_clauses_are_spelled_as_english_does() -> None:
    dog, cats = the("dog"), the("crow", plural=True)
    chase, sleep = VERB["chase"], VERB["sleep"]
    barn = Prepositional("near", the("barn"))
    assert said(Clause(dog, chase, cats)) == "the dog chases the crows."
    assert said(Clause(dog, chase, cats, passive=True)) == "the crows are chased by the dog."
    assert (
        said(Clause(dog, chase, cats, passive=True, negated=True)) == "the crows are not chased by the dog."
    )
    assert said(Clause(cats, sleep, negated=True, place=barn)) == "the crows do not sleep near the barn."
    assert said(Clause(cats, sleep, place=barn, fronted=True)) == "near the barn the crows sleep."
    who = NounPhrase(NOUN["dog"], relative=Relative(chase, cats, "object"))
    assert said(Clause(who, sleep)) == "the dog that the crows chase sleeps."
    whom = NounPhrase(NOUN["dog"], True, relative=Relative(chase, cats, "subject"))
    assert said(Clause(whom, quality=ADJECTIVE["lazy"])) == "the dogs that chase the crows are lazy."
    both = NounPhrase(NOUN["dog"], determiner="a", adjective=ADJECTIVE["idle"], other=cats)
    assert said(Clause(both, sleep)) == "an idle dog and the crows sleep."
    none = NounPhrase(NOUN["eagle"], determiner="no")
    assert said(Clause(none, sleep, ever=True)) == "no eagle ever sleeps."
    assert said(Clause(dog, category=NOUN["animal"])) == "the dog is an animal."


def test_questions_ask_for_one_phrase() -> None:
    clause = Clause(the("farmer", True), VERB["buy"], the("hat"), place=Prepositional("near", the("barn")))
    asked = [" ".join(question(clause, slot)) for slot in ("subject", "object", "place")]
    assert asked == [
        "who buys the hat near the barn",
        "what do the farmers buy near the barn",
        "where do the farmers buy the hat",
    ]


def clauses(style: Style, count: int, part: str = "all") -> Iterator[tuple[World, Clause]]:
    world = World(stream("test", part), Words.part(part))
    for _ in range(count):
        yield world, world.clause(style)


@pytest.mark.parametrize("style", [MATCHED, MISMATCHED], ids=["matched", "mismatched"])
def test_edits_of_sound_clauses_are_sound(style: Style) -> None:
    for world, clause in clauses(style, 400):
        edits = [clause, logic.rephrase(world, clause), *logic.weakenings(world, clause)]
        edits += [*logic.contradictions(world, clause), *logic.unrelated(world, clause)]
        assert [said(edit) for edit in edits if not accepts(said(edit))] == []


def test_opposite_edits_never_give_the_same_sentence() -> None:
    for world, clause in clauses(MATCHED, 400):
        kinds = [
            logic.weakenings(world, clause),
            logic.contradictions(world, clause),
            logic.unrelated(world, clause),
        ]
        sets = [{said(edit) for edit in edits} for edits in kinds]
        assert not any(a & b for a, b in itertools.combinations(sets, 2))
        assert all(said(clause) not in edits for edits in sets)


# What follows from what, written by hand.
@pytest.mark.parametrize(
    ("premise", "weaker", "contradicted"),
    [
        (Clause(the("crow"), VERB["sleep"]), "the bird sleeps.", "the crow does not sleep."),
        (
            Clause(NounPhrase(NOUN["bird"], determiner="no"), VERB["sleep"]),
            None,
            "a bird sleeps.",
        ),
        (
            Clause(NounPhrase(NOUN["crow"], True, "all"), quality=ADJECTIVE["lazy"]),
            "some crows are lazy.",
            "some crows are not lazy.",
        ),
        (
            Clause(NounPhrase(NOUN["crow"], determiner="a", adjective=ADJECTIVE["lazy"]), VERB["sleep"]),
            "a crow sleeps.",
            "no lazy crow sleeps.",
        ),
    ],
)
def test_logic_by_hand(premise: Clause, weaker: str | None, contradicted: str) -> None:
    world = World(stream("test"), Words.part("all"))
    follows = [said(edit) for edit in logic.weakenings(world, premise)]
    assert contradicted in [said(edit) for edit in logic.contradictions(world, premise)]
    if weaker is not None:
        assert weaker in follows
    if premise.subject.determiner == "no":
        # Downwards: every kind of bird, every place.
        assert follows
        assert all("animal" not in text for text in follows)


def test_negation_turns_what_follows_but_not_what_is_definite() -> None:
    world = World(stream("test"), Words.part("all"))
    a_hat = NounPhrase(NOUN["hat"], determiner="a")
    clause = Clause(the("farmer"), VERB["buy"], a_hat, negated=True)
    follows = [said(edit) for edit in logic.weakenings(world, clause)]
    assert "the worker does not buy a hat." in follows
    assert "the farmer does not buy a garment." not in follows


def test_likeness_by_hand() -> None:
    dog_chases = Clause(the("dog"), VERB["chase"], the("crow"))
    assert alike(dog_chases, dog_chases) == 5
    assert alike(dog_chases, Clause(the("hound"), VERB["pursue"], the("raven"))) == 5
    # Subject 2, verb 2.4, object 2: with the kind's name for the subject, 0.3 of 2 is lost.
    assert alike(dog_chases, Clause(the("mammal"), VERB["chase"], the("crow"))) == pytest.approx(
        5 * 5.8 / 6.4
    )
    assert alike(dog_chases, dog_chases.but(negated=True)) == pytest.approx(5 * (4 + 0.96) / 6.4)
    assert alike(dog_chases, Clause(the("hat"), quality=ADJECTIVE["big"])) == 0
    swapped = logic.role_swap(dog_chases)
    assert swapped is not None
    assert alike(dog_chases, swapped) == pytest.approx(5 * (2 * 0.2 + 2 * 0.2 + 2.4) / 6.4)


def test_the_corpus_is_fixed_by_its_seed_and_coheres() -> None:
    once = list(documents(0, 3 * VOLUME))
    assert list(documents(0, 3 * VOLUME)) == once
    assert list(documents(1, 3 * VOLUME)) != once
    assert all(once)
    content = {w for n in NOUN.values() for w in (n.singular, n.plural)} | {
        a.word for a in ADJECTIVE.values()
    }
    content |= {w for v in VERB.values() for w in (v.base, v.third, v.participle)}

    def overlap(a: str, b: str) -> bool:
        return bool(set(vocabulary.words(a)) & set(vocabulary.words(b)) & content)

    together = [overlap(a, b) for d in once for a, b in itertools.pairwise(d)]
    apart = [overlap(a[0], b[-1]) for a, b in zip(once[:VOLUME], once[2 * VOLUME :], strict=True)]
    assert np.mean(together) > 0.6 > 0.3 > np.mean(apart)


def test_batches_mask_and_pair_as_bert_does() -> None:
    corpus = encoded_corpus(6 * VOLUME)
    made = list(batches(corpus, np.random.default_rng(0), 16, 30))
    again = list(batches(corpus, np.random.default_rng(0), 16, 30))
    assert len(made) == 30
    assert all(
        (a.ids == b.ids).all() and (a.labels == b.labels).all() for a, b in zip(made, again, strict=True)
    )
    known = vocabulary.load()
    chosen = total = masked = kept = 0
    for batch in made:
        real = batch.attended == 1
        predicted = batch.labels != IGNORED
        assert not predicted[~real].any()
        assert (batch.ids[:, 0] == known["[CLS]"]).all()
        assert ((batch.ids == known["[SEP]"]).sum(1) == 2).all()
        assert (batch.types <= batch.attended).all()
        original = np.where(predicted, batch.labels, batch.ids)
        assert not np.isin(original[predicted], [known["[CLS]"], known["[SEP]"]]).any()
        chosen += predicted.sum()
        total += real.sum() - 3 * len(batch.ids)
        masked += (batch.ids[predicted] == known["[MASK]"]).sum()
        kept += (batch.ids[predicted] == batch.labels[predicted]).sum()
    assert chosen / total == pytest.approx(0.15, abs=0.02)
    assert masked / chosen == pytest.approx(0.8, abs=0.04)
    assert kept / chosen == pytest.approx(0.1, abs=0.03)
    assert np.mean([batch.is_random.mean() for batch in made]) == pytest.approx(0.5, abs=0.1)
