"""Whether texts become the token ids here that transformers' own tokenizer of a folder gives them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multibench.checkpoints.folder import CheckpointFolder
from multibench.checkpoints.formats.saved import is_whole, tokenizer_settings
from multibench.checkpoints.formats.vocabulary import SPECIAL, Vocabulary

__all__ = ["Agreement", "agreement", "probe_texts"]

_TEXTS = 1000
# What tokenizers differ about: accents, both ways of writing them, scripts without spaces, marks that join or turn,
# spaces of other kinds, controls, capitals that change their length in lower case, and letters of fonts.
_ODD = (
    *(
        "é",
        "e\u0301",
        "Å",
        "ñ",
        "ö",
        "ß",
        "ẞ",
        "İ",
        "ı",
        "ﬁ",
        "Σ",
        "ς",
        "ǅ",
        "½",
        "²",
        "№",
        "™",
        "ａ",
        "Ａ",
        "𝒜",
    ),
    *("中文", "日本語", "한국어", "ไทย", "हिन्दी", "عربى", "עברית", "Ω", "я", "Ё", "й"),
    *(
        "😀",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "❤\ufe0f",
        "\u200b",
        "\u200d",
        "\u00ad",
        "\ufeff",
        "\u202e",
        "\u2060",
    ),
    *(
        "\u00a0",
        "\u3000",
        "\u2003",
        "\u2028",
        "\u0085",
        "\t",
        "\n",
        "\r\n",
        "\u0000",
        "\u0007",
        "\u001b",
        "\ufffd",
    ),
    *("—", "–", "…", "“", "’", "¿", "·", "・", "。", "،", "`", "~", "^", "$", "+", "|", "<", "=", "\\", "_"),
    *("\ue000", "\U0010fffd", "\u0378", "n\u0303\u0323", "q\u0307\u0323"),
)


@dataclass(frozen=True)
class Agreement:
    """How many of ``texts`` became other ids, and the first that did: the text, our ids, and theirs."""

    tokenizer: str
    """What transformers calls its own."""
    texts: int
    different: int
    first: tuple[str, list[int], list[int]] | None

    def sentence(self) -> str:
        """What was found, for a person."""
        if self.first is None:
            return f"{self.texts:,} texts have the ids that transformers' {self.tokenizer} gives them"
        text, ours, theirs = self.first
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
        shown = slice(max(0, at - 1), at + 5)
        return (
            f"{self.different:,} of {self.texts:,} texts have other ids than transformers' {self.tokenizer} gives "
            f"them, such as {text[:60]!a}: {ours[shown]} here, {theirs[shown]} there"
        )


def agreement(folder: CheckpointFolder) -> Agreement | str:
    """Ids of a thousand texts and of pairs of them, here and by transformers' own tokenizer of the folder.

    A sentence instead where transformers reads no tokenizer there: the format is foreign to it, or it refuses the
    files. The texts depend on the vocabulary alone.
    """
    try:
        theirs = _transformers_tokenizer(folder)
    except Exception as error:  # whatever transformers raises for what it cannot read
        why = (str(error).strip() or type(error).__name__).splitlines()[0][:200].rstrip(".")
        return f"transformers cannot read the tokenizer of this folder: {why}"
    if theirs is None:
        return "transformers has no tokenizer for this format, so there is nothing to compare with"
    ours = folder.vocabulary.tokenizer()
    ours.no_truncation()
    ours.no_padding()
    texts = probe_texts(folder.vocabulary)
    # An empty second text is none to transformers, so pairs have none.
    full = [text for text in texts if text][:100]
    inputs: list[Any] = [*texts, *zip(full, reversed(full), strict=True)]
    wrong = []
    for given, encoding in zip(inputs, ours.encode_batch(inputs), strict=True):
        pair = given if isinstance(given, tuple) else (given,)
        found = theirs(*pair, return_token_type_ids=True)
        if (encoding.ids, encoding.type_ids) != (found["input_ids"], found["token_type_ids"]):
            wrong.append((" / ".join(pair), encoding.ids, found["input_ids"]))
    return Agreement(type(theirs).__name__, len(texts), len(wrong), wrong[0] if wrong else None)


def _transformers_tokenizer(folder: CheckpointFolder) -> Any:
    """What transformers makes of the files; None if there are none that it would read."""
    path = folder.path
    if not path.is_dir() or not any((path / n).is_file() for n in ("vocab.txt", "tokenizer.json")):
        return None
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    # What the folder leaves open is what the catalogue, or the vocabulary itself, says.
    silent = tokenizer_settings(path).get("do_lower_case") is None and not is_whole(path)
    options: dict[str, Any] = {"do_lower_case": folder.vocabulary.lower_case} if silent else {}
    known = (path / "config.json").is_file()
    kind = transformers.AutoTokenizer if known else transformers.BertTokenizer
    return kind.from_pretrained(str(path), local_files_only=True, **options)


def probe_texts(vocabulary: Vocabulary, count: int = _TEXTS) -> list[str]:
    """``count`` texts of the vocabulary's own pieces, of odd characters, and of the tokens that are added to it."""
    draw = random.Random(20261127)
    pieces = [piece.removeprefix("##") for piece in vocabulary.pieces if piece not in SPECIAL]
    tokens = [token.content for token in vocabulary.added]
    tokens += [name for name in SPECIAL if name in vocabulary.pieces]
    texts = ["", " ", "a" * 101, "".join(pieces[:40]), *tokens, *(f"a{token}b" for token in tokens)]
    texts += [token.swapcase() for token in tokens]
    while len(texts) < count:
        words = [_word(draw, pieces, tokens) for _ in range(draw.randint(1, 12))]
        gaps = draw.choices((" ", "", "  ", "\t", "\u00a0"), (20, 3, 1, 1, 1), k=len(words))
        texts.append("".join(word + gap for word, gap in zip(words, gaps, strict=True)))
    return texts[:count]


def _word(draw: random.Random, pieces: Sequence[str], tokens: Sequence[str]) -> str:
    kind = draw.random()
    if kind < 0.15 and tokens:
        return draw.choice(tokens)
    if kind < 0.35:
        return draw.choice(_ODD)
    if kind < 0.4:
        return chr(draw.choice((draw.randrange(0x20, 0x3000), draw.randrange(0xE000, 0x20000))))
    word = "".join(draw.choices(pieces or ("a",), k=draw.randint(1, 3)))
    if kind < 0.5:
        word += draw.choice(_ODD)
    return draw.choice((word, word, word.capitalize(), word.upper()))
