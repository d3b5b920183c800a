"""Tokens that a folder's files add to its vocabulary: which there are, and which ids they have.

They are declared in four places. ``added_tokens_decoder`` in ``tokenizer_config.json`` comes before what older
folders have instead: ``added_tokens.json``, ``special_tokens_map.json`` and the list in ``tokenizer.json``. Named
tokens (``cls_token``) and lists of further special ones stand in ``tokenizer_config.json``, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from multibench.checkpoints.formats.vocabulary import SPECIAL, AddedToken
from multibench.errors import CheckpointError

__all__ = ["BERT_NAMES", "added_tokens", "listed_tokens"]

BERT_NAMES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""What ``tokenizer_config.json`` calls BERT's own five tokens."""
_FLAGS = ("special", "normalized", "lstrip", "rstrip", "single_word")
_MOST = 100_000


class _Declared(NamedTuple):
    """A token as some file has it; ``number`` None where its id is not stated."""

    content: str
    number: int | None
    flags: dict[str, bool]
    place: str


def added_tokens(
    pieces: tuple[str, ...],
    settings: Mapping[str, Any],
    where: str,
    saved: Iterable[Any] = (),
    legacy: Mapping[str, Any] | None = None,
    special_map: Mapping[str, Any] | None = None,
    both: bool = False,
    plain: bool = True,
) -> tuple[AddedToken, ...]:
    """The tokens that differ from BERT's own five in a plain vocabulary, each with its id, by id.

    ``settings`` are ``tokenizer_config.json``, ``saved`` the list in ``tokenizer.json``, ``legacy`` is
    ``added_tokens.json`` and ``special_map`` ``special_tokens_map.json``. With ``both`` the list counts also
    where there is an ``added_tokens_decoder``; without ``plain`` BERT's own five are given, too. Raises
    ``CheckpointError``, which names the token and the file, for one that is malformed, or that would not get the id
    which is stated for it; and for special tokens of other names than BERT's.
    """
    declared = _declared(settings, where, saved, legacy or {}, special_map or {}, both)
    if len(declared) > _MOST:
        raise CheckpointError(f"The tokenizer of {where} adds {len(declared):,} tokens, more than any has.")
    known = {piece: number for number, piece in enumerate(pieces)}
    following = len(known)
    found: dict[str, AddedToken] = {}
    for token in declared:
        number = known.get(token.content)
        if number is None:
            number = known[token.content] = following
            following += 1
        if token.number not in (None, number):
            raise CheckpointError(
                f"{token.place} of {where} gives the added token {token.content!r} the id {token.number}; behind a "
                f"vocabulary of {len(pieces):,} pieces it has {number}. Does vocab.txt belong to it?"
            )
        found[token.content] = AddedToken(token.content, number, **token.flags)
    own = {name: AddedToken(name, known[name]) for name in SPECIAL if plain and name in pieces}
    return tuple(sorted((t for t in found.values() if own.get(t.content) != t), key=lambda t: t.number))


def listed_tokens(saved: Iterable[Any], where: str) -> dict[str, AddedToken]:
    """The tokens in the list ``added_tokens`` of a ``tokenizer.json``, by content."""
    found = [_of_list(each, where) for each in saved]
    return {t.content: AddedToken(t.content, t.number or 0, **t.flags) for t in found}


def _declared(
    settings: Mapping[str, Any],
    where: str,
    saved: Iterable[Any],
    legacy: Mapping[str, Any],
    special_map: Mapping[str, Any],
    both: bool,
) -> list[_Declared]:
    """Every declaration, in the order in which tokens without a stated id get theirs; each content once.

    Flags are those that transformers 5 gives: a token of ``added_tokens.json`` is special if it is among the named
    or further ones of ``tokenizer_config.json``, or the named ones of ``special_tokens_map.json``.
    """
    place, map_place = "tokenizer_config.json", "special_tokens_map.json"
    decoder = settings.get("added_tokens_decoder")
    named = [*_named(settings, place, where)]
    further = [*_further(settings, place, where)]
    stated = [_of_list(each, where) for each in saved] if both or decoder is None else []
    if decoder is None:
        named += _named(special_map, map_place, where)
        extra = {"extra_special_tokens": special_map.get("extra_special_tokens")}
        special = {token.content for token in (*named, *further, *_further(extra, map_place, where))}
        further += _further(special_map, map_place, where)
        stated += [_legacy(name, number, name in special, where) for name, number in legacy.items()]
    elif isinstance(decoder, dict):
        stated += [_token(token, _number(key, place, where), place, where) for key, token in decoder.items()]
    else:
        raise CheckpointError(f"{place} of {where}: added_tokens_decoder is no object of ids and tokens.")
    found = {token.content: token for token in sorted(stated, key=lambda t: t.number or 0)}
    for token in (*named, *further):
        found.setdefault(token.content, token)
    special = {*SPECIAL, *(token.content for token in named)}
    return [
        token._replace(flags={**token.flags, "special": token.flags["special"] or token.content in special})
        for token in found.values()
    ]


def _legacy(name: str, number: Any, special: bool, where: str) -> _Declared:
    """A token of ``added_tokens.json``."""
    place = "added_tokens.json"
    token = {"content": name, "special": special, "normalized": not special}
    return _token(token, _number(number, place, where), place, where)


def _of_list(token: Any, where: str) -> _Declared:
    place = "tokenizer.json"
    number = token.get("id") if isinstance(token, dict) else None
    return _token(token, _number(number, place, where), place, where)


def _named(settings: Mapping[str, Any], place: str, where: str) -> Iterator[_Declared]:
    """The special tokens that have a name of their own, without ids."""
    for key, value in settings.items():
        if not key.endswith("_token") or not isinstance(value, (str, dict)):
            continue
        token = _token(value, None, place, where)
        if token.content != BERT_NAMES.get(key, token.content):
            raise CheckpointError(
                f"{place} of {where} names {token.content!r} as {key}; multibench has BERT's {BERT_NAMES[key]} there, "
                "and no other."
            )
        yield token


def _further(settings: Mapping[str, Any], place: str, where: str) -> Iterator[_Declared]:
    """The special tokens that stand in a list, without ids."""
    given = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    tokens = given.values() if isinstance(given, dict) else given if isinstance(given, list) else [given]
    yield from (_token(token, None, place, where) for token in tokens)


def _token(token: Any, number: int | None, place: str, where: str) -> _Declared:
    given = {"content": token} if isinstance(token, str) else token
    content = given.get("content") if isinstance(given, dict) else None
    if not isinstance(content, str) or not content:
        raise CheckpointError(f"{place} of {where} has an added token {str(token)[:60]!r} without a content.")
    special = given.get("special", number is None)
    flags: dict[str, Any] = {name: given.get(name, False) for name in _FLAGS} | {"special": special}
    flags["normalized"] = given.get("normalized", not special)
    wrong = [name for name, flag in flags.items() if not isinstance(flag, bool)]
    if wrong:
        raise CheckpointError(
            f"{place} of {where}: the added token {content!r} has {wrong[0]} = {flags[wrong[0]]!r}; expected true or "
            "false."
        )
    return _Declared(content, number, flags, place)


def _number(value: Any, place: str, where: str) -> int:
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        value = int(value[:12])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise CheckpointError(f"{place} of {where} has {str(value)[:60]!r} as the id of an added token.")
    return value
