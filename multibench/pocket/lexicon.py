"""The words of the pocket world: facts first, then the tables that the grammar reads.

Words joined by ``/`` are synonyms (one concept). A noun's kind is its hypernym, a kind's sort is the
hypernym of that. ``a | b`` are two concepts that exclude each other (``love | hate``).
Everything is lower case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

__all__ = [
    "COLOURS",
    "KINDS",
    "LANDSCAPE",
    "MANNERS",
    "Adjective",
    "Noun",
    "Verb",
    "adjectives",
    "kind_nouns",
    "nouns",
    "plural_of",
    "sort_nouns",
    "verbs",
]

# sort -> kind -> concepts.
NOUN_TABLE = {
    "person": {
        "artist": "painter, singer/vocalist, dancer, poet, sculptor, actor/performer, writer/author, drummer",
        "worker": "baker, carpenter, plumber, mechanic, tailor, butcher, gardener, farmer/grower",
        "scholar": "teacher/instructor, professor, student/pupil, scientist/researcher, librarian, historian",
        "official": "judge, mayor, lawyer/attorney, senator, envoy/ambassador, "
        "detective/investigator, guard/sentry",
        "healer": "doctor/physician, nurse, dentist, surgeon, pharmacist, midwife",
        "relative": "uncle, aunt, cousin, nephew, niece, grandmother",
        "traveller": "sailor/mariner, pilot/aviator, tourist/visitor, driver/motorist, rider, explorer",
    },
    "animal": {
        "bird": "sparrow, eagle, owl, crow/raven, pigeon/dove, duck, swan, parrot",
        "fish": "shark, eel, herring, sardine, minnow, stingray",
        "insect": "ant, bee, wasp, beetle, moth, cricket, mosquito",
        "mammal": "dog/hound, rabbit/bunny, horse/steed, pig/hog, goat, "
        "wolf, lion, tiger, monkey, donkey, mouse, fox",
        "reptile": "snake/serpent, lizard, tortoise/turtle, crocodile, gecko, python",
    },
    "thing": {
        "fruit": "apple, pear, plum, peach, cherry, lemon, melon, banana",
        "vegetable": "carrot, onion, potato, turnip, cabbage, pepper, radish, cucumber",
        "vehicle": "car/automobile, truck/lorry, bicycle/bike, boat, wagon/cart, bus, tractor, airplane/plane",
        "tool": "hammer, saw, shovel/spade, wrench, drill, axe/hatchet, rake, ladder",
        "furniture": "chair, table, couch/sofa, bed, desk, shelf, cupboard/cabinet, stool",
        "garment": "shirt, jacket/coat, hat/cap, scarf, dress/gown, sweater/pullover, skirt, glove/mitten",
        "instrument": "violin/fiddle, piano, guitar, drum, flute, trumpet, harp, cello",
        "document": "letter, book, newspaper, journal/magazine, map, poem, novel, diary",
        "container": "box/carton, basket, bottle/flask, bag/sack, jar, bucket/pail, barrel, crate",
        "plant": "rose, tulip, daisy, lily, fern, oak, pine, maple",
    },
    "place": {
        "building": "house, barn, church, museum, school, tower, "
        "castle, hotel/inn, clinic/hospital, shop/store, factory, mill",
        "landscape": "river/stream, lake/pond, hill, forest/wood, "
        "meadow/field, garden, beach/shore, road/street, valley, mountain",
    },
}

IRREGULAR_PLURALS = {
    "person": "people",
    "mouse": "mice",
    "shelf": "shelves",
    "scarf": "scarves",
    "wolf": "wolves",
    "midwife": "midwives",
    "potato": "potatoes",
    "mosquito": "mosquitoes",
    "furniture": "furnitures",
    "fish": "fishes",
}

# frame (who does it to what) -> pairs of excluding concepts. A sort or kinds for subject and object.
VERB_TABLE = [
    (
        "person",
        "being",
        "praise/applaud | criticize/scold, hire/employ | dismiss, trust | doubt, thank | ignore",
    ),
    ("person", "being", "forgive/pardon | punish, welcome/greet | reject, photograph, interview/question"),
    (
        "being",
        "being",
        "chase/pursue | avoid, love/adore | hate/despise, help/assist | hinder, attack | defend/protect",
    ),
    (
        "being",
        "being",
        "follow | lead/guide, soothe | scare/frighten, see/notice | overlook, admire | pity, touch",
    ),
    (
        "person",
        "thing",
        "buy/purchase | sell, find/discover | lose/misplace, wash/rinse | stain/soil, lift/raise | drop",
    ),
    (
        "person",
        "thing",
        "repair/fix | damage/break, hide/conceal | display/show, keep | discard, paint, carry/transport",
    ),
    ("being", "thing", "push/shove | pull/drag, borrow | return, like/enjoy | dislike, want/desire"),
    ("being", "fruit vegetable", "eat/consume, smell/sniff"),
    ("person", "fruit vegetable", "cook, peel, chop"),
    ("person", "vehicle", "steer, park, board"),
    ("person", "garment", "wear, fold, sew"),
    ("person", "instrument", "tune, play"),
    ("person", "document", "read, copy, print"),
    ("person", "container", "open | close/shut, fill | empty"),
    ("being", "", "sleep/slumber | wake, laugh/giggle | cry/weep, arrive | leave/depart, work | rest/relax"),
    (
        "being",
        "",
        "whisper | shout/yell, sit | stand, smile/grin | frown, wait, hesitate, dream, tremble/shiver",
    ),
    ("animal", "", "swim, bite, breathe, jump/leap"),
]

IRREGULAR_PARTICIPLES = {
    "see": "seen", "overlook": "overlooked", "lead": "led", "buy": "bought", "sell": "sold", "find": "found",
    "lose": "lost", "break": "broken", "hide": "hidden", "show": "shown", "keep": "kept", "eat": "eaten",
    "wear": "worn", "sew": "sewn", "read": "read", "shut": "shut", "drag": "dragged", "drop": "dropped",
    "forgive": "forgiven", "chop": "chopped",
}  # fmt: skip

ADJECTIVE_TABLE = {
    "being": "happy/glad | sad/gloomy, tired/weary | lively, brave/courageous | timid/fearful, "
    "kind/gentle | cruel/mean, "
    "rich/wealthy | poor, young | elderly, calm | nervous/anxious, loud/noisy | quiet/silent, "
    "strong/mighty | weak/feeble, lazy/idle | busy, clever/smart | foolish/silly, hungry | sated",
    "thing": "big/large | small/little, clean/spotless | dirty/filthy, new | ancient, heavy | light, "
    "cheap/inexpensive | expensive/costly, hot | cold/chilly, wet/damp | dry, smooth | rough, "
    "pretty/beautiful | ugly/hideous, valuable | worthless, soft | hard",
    "place": "quaint, famous/renowned | obscure, distant/remote | nearby, crowded, peaceful, dark/dim | bright",
}
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "brown", "gray")
MANNERS = ("often", "always", "usually", "sometimes", "quietly", "gladly", "slowly", "quickly")
LANDSCAPE = "landscape"


@dataclass(frozen=True, slots=True, eq=False)
class Noun:
    """One countable noun. ``kind`` is its hypernym ("" for the name of a sort)."""

    singular: str
    plural: str
    concept: str
    kind: str
    sort: str


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """One verb with regular agreement. ``objects`` are sorts or kinds; empty if it takes none."""

    base: str
    third: str
    participle: str
    concept: str
    opposite: str
    subject: str
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Adjective:
    """One adjective; colours exclude each other and have the opposite ``colour``."""

    word: str
    concept: str
    opposite: str
    sort: str


def _ends_sibilant(word: str) -> bool:
    return word.endswith(("s", "x", "z", "ch", "sh"))


def _s_form(word: str) -> str:
    """``word`` with the -s of plural nouns and of third-person verbs."""
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if _ends_sibilant(word) else "s")


def plural_of(word: str) -> str:
    """The plural of a noun of this world."""
    return IRREGULAR_PLURALS.get(word) or _s_form(word)


def _participle(base: str) -> str:
    if base in IRREGULAR_PARTICIPLES:
        return IRREGULAR_PARTICIPLES[base]
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + ("d" if base.endswith("e") else "ed")


def _noun(word: str, concept: str, kind: str, sort: str) -> Noun:
    return Noun(word, plural_of(word), concept, kind, sort)


@cache
def nouns() -> tuple[Noun, ...]:
    """All nouns below a kind, in the order of the table."""
    return tuple(
        _noun(word, entry.split("/")[0], kind, sort)
        for sort, kinds in NOUN_TABLE.items()
        for kind, row in kinds.items()
        for entry in row.split(", ")
        for word in entry.split("/")
    )


KINDS = {kind: sort for sort, kinds in NOUN_TABLE.items() for kind in kinds}


@cache
def kind_nouns() -> dict[str, Noun]:
    """The hypernyms: kind name to noun."""
    return {kind: _noun(kind, kind, kind, sort) for kind, sort in KINDS.items()}


@cache
def sort_nouns() -> dict[str, Noun]:
    """The hypernyms of kinds: sort name to noun."""
    return {sort: _noun(sort, sort, "", sort) for sort in NOUN_TABLE}


def _pairs(row: str) -> list[tuple[str, str, str]]:
    """(word, concept, opposite concept or "") of every word in a row of excluding pairs."""
    found = []
    for pair in row.split(", "):
        sides = [side.split("/") for side in pair.split(" | ")]
        for index, words in enumerate(sides):
            opposite = sides[1 - index][0] if len(sides) == 2 else ""
            found += [(word, words[0], opposite) for word in words]
    return found


@cache
def verbs() -> tuple[Verb, ...]:
    """All verbs, in the order of the table."""
    return tuple(
        Verb(
            word,
            _s_form(word),
            _participle(word) if objects else "",
            concept,
            opposite,
            subject,
            tuple(objects.split()),
        )
        for subject, objects, row in VERB_TABLE
        for word, concept, opposite in _pairs(row)
    )


@cache
def adjectives() -> tuple[Adjective, ...]:
    """All adjectives, in the order of the table; a concept is named with its sort."""
    states = [
        Adjective(word, f"{sort}:{concept}", opposite and f"{sort}:{opposite}", sort)
        for sort, row in ADJECTIVE_TABLE.items()
        for word, concept, opposite in _pairs(row)
    ]
    return (*states, *(Adjective(word, word, "colour", "thing") for word in COLOURS))
