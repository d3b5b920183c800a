"""An independent grammar of the pocket world: it reads words and knows nothing of how they were made.

It takes from the package only the tables of word forms. Numbers are "s" and "p"; parsers yield every
(next position, number) that fits, so that ambiguity is allowed for.
"""

from __future__ import annotations

from collections.abc import Iterator

from multibench.pocket import lexicon

NOUNS = (*lexicon.nouns(), *lexicon.kind_nouns().values(), *lexicon.sort_nouns().values())
SINGULAR, PLURAL = {n.singular for n in NOUNS}, {n.plural for n in NOUNS}
ADJECTIVES = {a.word for a in lexicon.adjectives()}
VERBS = lexicon.verbs()
FINITE = {(v.third, "s"): bool(v.objects) for v in VERBS} | {(v.base, "p"): bool(v.objects) for v in VERBS}
BASE = {v.base: bool(v.objects) for v in VERBS}
PARTICIPLES = {v.participle for v in VERBS if v.objects}
NUMBERS = {
    **dict.fromkeys(("a", "an", "every", "no", "this", "each"), "s"),
    **dict.fromkeys(("some", "all", "these", "many", "most", "few", "two", "three"), "p"),
    "the": "sp",
}
PREPOSITIONS = {"near", "behind", "beside", "inside", "outside"}
MANNERS = set(lexicon.MANNERS)


def accepts(text: str) -> bool:
    """Whether ``text`` is a well-formed statement of the pocket world."""
    if not text.endswith("."):
        return False
    words = text[:-1].split()
    starts = [0, *_place(words, 0)]
    return any(end == len(words) for start in starts for end in _clause(words, start))


def _at(words: list[str], i: int) -> str:
    return words[i] if i < len(words) else ""


def _clause(words: list[str], i: int) -> Iterator[int]:
    for j, number in _phrase(words, i):
        licensed = words[i] in ("no", "few")
        for k in _predicate(words, j, number, licensed):
            yield k
            yield from _place(words, k)


def _phrase(words: list[str], i: int) -> Iterator[tuple[int, str]]:
    for j, number in _single(words, i):
        yield j, number
        if _at(words, j) == "and":
            yield from ((k, "p") for k, _ in _phrase(words, j + 1))


def _single(words: list[str], i: int) -> Iterator[tuple[int, str]]:
    determiner = _at(words, i)
    if determiner not in NUMBERS or not _at(words, i + 1):
        return
    if determiner in ("a", "an") and (determiner == "an") != (words[i + 1][0] in "aeiou"):
        return
    for at in (i + 1, i + 2) if words[i + 1] in ADJECTIVES else (i + 1,):
        noun = _at(words, at)
        for number, forms in (("s", SINGULAR), ("p", PLURAL)):
            if noun in forms and number in NUMBERS[determiner]:
                yield at + 1, number
                yield from ((k, number) for k in _place(words, at + 1))
                yield from ((k, number) for k in _relative(words, at + 1, number))


def _place(words: list[str], i: int) -> Iterator[int]:
    if _at(words, i) in PREPOSITIONS:
        yield from (j for j, _ in _single(words, i + 1))


def _relative(words: list[str], i: int, number: str) -> Iterator[int]:
    if _at(words, i) != "that":
        return
    if FINITE.get((_at(words, i + 1), number)):
        yield from (j for j, _ in _single(words, i + 2))
    for j, inner in _single(words, i + 1):
        if FINITE.get((_at(words, j), inner)):
            yield j + 1


def _predicate(words: list[str], i: int, number: str, licensed: bool) -> Iterator[int]:
    word, negated = _at(words, i), _at(words, i + 1) == "not"
    if word == ("is" if number == "s" else "are"):
        for j in _adverbs(words, i + 1 + negated, licensed or negated):
            if _at(words, j) in ADJECTIVES:
                yield j + 1
            if _at(words, j) in PARTICIPLES and _at(words, j + 1) == "by":
                yield from (k for k, _ in _phrase(words, j + 2))
    if word == ("does" if number == "s" else "do") and negated:
        for j in _adverbs(words, i + 2, licensed=True):
            if _at(words, j) in BASE:
                yield from _object(words, j + 1, BASE[words[j]])
    for j in _adverbs(words, i, licensed):
        if (_at(words, j), number) in FINITE:
            yield from _object(words, j + 1, FINITE[words[j], number])


def _adverbs(words: list[str], i: int, licensed: bool) -> Iterator[int]:
    if _at(words, i) == "ever":
        if not licensed:
            return
        i += 1
    yield i + (_at(words, i) in MANNERS)


def _object(words: list[str], i: int, wanted: bool) -> Iterator[int]:
    if wanted:
        yield from (j for j, _ in _phrase(words, i))
    else:
        yield i
