"""Which tokenizer the files of a checkpoint folder describe: what is honoured of them, and what is refused by name.

``tokenizer.json`` holds a whole tokenizer. Which parts of it count depends on the class in ``tokenizer_config.json``:
``PreTrainedTokenizerFast`` takes it as it is, while BERT's classes take the vocabulary alone and build the rest
anew. Where the two readings differ, and no setting tells which is meant, the folder is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multibench.checkpoints.formats.added import added_tokens, listed_tokens
from multibench.checkpoints.formats.texts import parse_json, read_small
from multibench.checkpoints.formats.vocabulary import (
    SPECIAL,
    Vocabulary,
    make_vocabulary,
    parse_pieces,
)
from multibench.errors import CheckpointError

__all__ = ["TOKENIZER_FILES", "is_whole", "read_vocabulary", "tokenizer_settings", "vocabulary_of"]

TOKENIZER_FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""Every file that says how texts become ids; ``config.json`` may name the class, too."""

# Without the "Fast" that older releases put behind.
_BERT_CLASSES = {"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"}
_WHOLE_CLASSES = {"PreTrainedTokenizer", "TokenizersBackend"}
# In tokenizer_config.json, and in the normaliser of tokenizer.json.
_SETTINGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
_WORDPIECE = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}

Read = Callable[[str], bytes | None]
"""The content of a file of the folder, None if it is not there."""


@dataclass(frozen=True)
class _Files:
    """What the files say, each an object, empty where there is none; ``where`` is the folder's name in errors."""

    where: str
    vocab: tuple[str, ...] | None
    saved: dict[str, Any]
    settings: dict[str, Any]
    special_map: dict[str, Any]
    legacy: dict[str, Any]
    tokenizer_class: str | None

    @property
    def model(self) -> dict[str, Any]:
        model = self.saved.get("model")
        return model if isinstance(model, dict) and model.get("vocab") else {}

    @property
    def normalizer(self) -> dict[str, Any]:
        normalizer = self.saved.get("normalizer")
        return normalizer if isinstance(normalizer, dict) else {}

    @property
    def listed(self) -> list[Any]:
        """The tokens that tokenizer.json adds."""
        listed = self.saved.get("added_tokens")
        return listed if isinstance(listed, list) and self.model else []


def read_vocabulary(folder: Path, cased: bool | None = None) -> Vocabulary:
    """The vocabulary of the checkpoint in ``folder``, with the tokenizer that its files describe.

    Casing comes from ``tokenizer_config.json``, else from ``cased`` (what the catalogue knows), else is lower
    case, BERT's default. Raises ``CheckpointError`` for a missing or malformed vocabulary, one without the special
    tokens, a contradiction to ``cased``, and for a tokenizer that is none of BERT's or that the files describe in
    two ways.
    """
    return vocabulary_of(_reader(folder), folder, cased)


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """What ``tokenizer_config.json`` says, empty if there is none. Raises ``CheckpointError`` if it is no JSON."""
    return _files(_reader(folder), folder).settings


def is_whole(folder: Path) -> bool:
    """Whether transformers takes the folder's ``tokenizer.json`` as it is."""
    files = _files(_reader(folder), folder)
    return files.tokenizer_class in _WHOLE_CLASSES and bool(files.model)


def _reader(folder: Path) -> Read:
    return lambda name: read_small(folder / name) if (folder / name).exists() else None


def vocabulary_of(read: Read, where: Path, cased: bool | None, guess: bool = False) -> Vocabulary:
    """What ``read_vocabulary`` gives for the files that ``read`` gives.

    With ``guess`` a vocabulary with capitals is taken for a cased one where neither files nor ``cased`` say it.
    """
    files = _files(read, where)
    _refuse_class(files)
    pieces = _pieces(files)
    if files.tokenizer_class in _WHOLE_CLASSES and files.model:
        return _whole(files, pieces, cased)
    settings = dict(files.settings)
    added = added_tokens(pieces, settings, files.where, files.listed, files.legacy, files.special_map)
    if guess and cased is None and settings.get("do_lower_case") is None and not files.normalizer:
        capitals = sum(not piece.startswith("[") and piece != piece.lower() for piece in pieces)
        cased = capitals * 100 > len(pieces)
    vocabulary = make_vocabulary(pieces, files.where, cased, settings, added)
    if files.model:
        _refuse_other_parts(files, pieces)
        _refuse_other_settings(files, vocabulary, cased)
        _refuse_other_added(files, vocabulary)
    return vocabulary


def _files(read: Read, where: Path) -> _Files:
    def parsed(name: str) -> dict[str, Any]:
        content = read(name)
        loaded = {} if content is None else parse_json(content, str(where / name))
        return loaded if isinstance(loaded, dict) else {}

    settings = parsed("tokenizer_config.json")
    said = settings.get("tokenizer_class") or parsed("config.json").get("tokenizer_class")
    vocab = read("vocab.txt")
    return _Files(
        where=str(where),
        vocab=None if vocab is None else parse_pieces(vocab, str(where / "vocab.txt")),
        saved=parsed("tokenizer.json"),
        settings=settings,
        special_map=parsed("special_tokens_map.json"),
        legacy=parsed("added_tokens.json"),
        tokenizer_class=str(said).removesuffix("Fast") if said else None,
    )


def _refuse_class(files: _Files) -> None:
    if files.settings.get("auto_map"):
        raise CheckpointError(
            f"tokenizer_config.json of {files.where} points to code of its own (auto_map), which multibench never runs."
        )
    if files.settings.get("split_special_tokens"):
        raise CheckpointError(
            f"tokenizer_config.json of {files.where} asks for split_special_tokens, which multibench does not do."
        )
    known = {*_BERT_CLASSES, *_WHOLE_CLASSES, None}
    if files.tokenizer_class not in known:
        raise CheckpointError(
            f"{files.where} asks for the tokenizer class {files.tokenizer_class}; multibench has BERT's WordPieces "
            "(BertTokenizer), and those of a tokenizer.json (PreTrainedTokenizerFast)."
        )
    kind = files.model.get("type") or ("BPE" if "merges" in files.model else "WordPiece")
    if kind != "WordPiece":
        raise CheckpointError(
            f"tokenizer.json of {files.where} holds a {str(kind)[:40]} model; multibench has WordPiece alone."
        )


def _pieces(files: _Files) -> tuple[str, ...]:
    """The pieces of ``vocab.txt``, else of ``tokenizer.json``, which must not be two vocabularies."""
    saved = files.model.get("vocab", {})
    if files.vocab is not None:
        ours = {piece: number for number, piece in enumerate(files.vocab) if piece.strip()}
        theirs = {piece: n for piece, n in saved.items() if piece.strip()} if isinstance(saved, dict) else {}
        if theirs and theirs != ours:
            both = len(theirs.items() & ours.items()) if all(map(_is_id, theirs.values())) else 0
            raise CheckpointError(
                f"{files.where}: tokenizer.json and vocab.txt are two vocabularies: {both:,} of {len(ours):,} pieces "
                "agree. Remove the one that the model was not trained with."
            )
        return files.vocab
    if not isinstance(saved, dict) or not saved:
        raise CheckpointError(
            f"{files.where} holds no vocabulary: neither vocab.txt nor a WordPiece tokenizer.json."
        )
    if not all(map(_is_id, saved.values())) or set(saved.values()) != set(range(len(saved))):
        raise CheckpointError(
            f"{Path(files.where) / 'tokenizer.json'}: the vocabulary's ids do not run from 0 without gaps."
        )
    return tuple(sorted(saved, key=lambda piece: int(saved[piece])))


def _is_id(value: object) -> bool:
    return type(value) is int


def _other_part(files: _Files, pieces: tuple[str, ...]) -> str | None:
    """The first part of ``tokenizer.json`` that is none of BERT's, with what it is; None if all are.

    What the file does not mention is BERT's.
    """
    saved = files.saved
    normalizer = saved.get("normalizer", {})
    if not isinstance(normalizer, dict) or normalizer.get("type", "BertNormalizer") != "BertNormalizer":
        return f"normalizer {_called(normalizer)}"
    if normalizer.get("clean_text", True) is not True:
        return "normalizer BertNormalizer without clean_text"
    splitter = saved.get("pre_tokenizer", {"type": "BertPreTokenizer"})
    if splitter != {"type": "BertPreTokenizer"}:
        return f"pre_tokenizer {_called(splitter)}"
    for name, value in _WORDPIECE.items():
        if files.model.get(name, value) != value:
            return f"{name} {str(files.model[name])[:40]!r}"
    if "post_processor" in saved and not _frames_as_bert(saved["post_processor"], pieces):
        return f"post_processor {_called(saved['post_processor'])}"
    return None


def _called(part: Any) -> str:
    return (
        str(part.get("type"))[:40] if isinstance(part, dict) else "null" if part is None else str(part)[:40]
    )


def _frames_as_bert(processor: Any, pieces: tuple[str, ...]) -> bool:
    """Whether texts become ``[CLS] a [SEP]`` and ``[CLS] a [SEP] b [SEP]``, with BERT's token types."""
    if not isinstance(processor, dict) or not {"[CLS]", "[SEP]"} <= set(pieces):
        return False
    numbers = {name: pieces.index(name) for name in ("[CLS]", "[SEP]")}
    if processor.get("type") == "BertProcessing":
        return all(processor.get(name[1:-1].lower()) == [name, number] for name, number in numbers.items())

    def of(*parts: tuple[str, int]) -> list[dict[str, Any]]:
        return [
            {"SpecialToken" if name in numbers else "Sequence": {"id": name, "type_id": kind}}
            for name, kind in parts
        ]

    single = of(("[CLS]", 0), ("A", 0), ("[SEP]", 0))
    tokens = {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in numbers.items()}
    return (
        processor.get("type") == "TemplateProcessing"
        and processor.get("single") == single
        and processor.get("pair") == [*single, *of(("B", 1), ("[SEP]", 1))]
        and processor.get("special_tokens") == tokens
    )


def _refuse_other_parts(files: _Files, pieces: tuple[str, ...]) -> None:
    part = _other_part(files, pieces)
    if part is not None:
        raise CheckpointError(
            f"tokenizer.json of {files.where} has the {part}, which a {files.tokenizer_class or 'BertTokenizer'} has "
            "not, so the folder describes two tokenizers. If tokenizer.json is what the model was trained with, put "
            '"tokenizer_class": "PreTrainedTokenizerFast" into tokenizer_config.json; otherwise remove tokenizer.json.'
        )


def _refuse_other_settings(files: _Files, vocabulary: Vocabulary, cased: bool | None) -> None:
    """Refuse a normaliser that does otherwise than BERT's default, where ``tokenizer_config.json`` says nothing."""
    ours = {
        "do_lower_case": vocabulary.lower_case,
        "strip_accents": _strips(vocabulary.strip_accents, vocabulary.lower_case),
        "tokenize_chinese_chars": vocabulary.split_chinese,
    }
    for name, theirs in _SETTINGS.items():
        if files.settings.get(name) is not None or (name == "do_lower_case" and cased is not None):
            continue
        value = files.normalizer.get(theirs, ours[name])
        if name == "strip_accents":
            value = _strips(value, vocabulary.lower_case)
        if value != ours[name]:
            raise CheckpointError(
                f"tokenizer.json of {files.where} has {theirs} = {json.dumps(value)[:40]}, and tokenizer_config.json "
                f'leaves {name} to the default, which is another. Say "{name}" there, as the model was trained.'
            )


def _strips(value: Any, lower: bool) -> Any:
    return lower if value is None else value


def _refuse_other_added(files: _Files, vocabulary: Vocabulary) -> None:
    """Refuse tokens of ``tokenizer.json`` that ``added_tokens_decoder``, which comes before it, does not have."""
    known = {token.content for token in vocabulary.added} | set(SPECIAL)
    missing = sorted(listed_tokens(files.listed, files.where).keys() - known)
    if missing:
        raise CheckpointError(
            f"tokenizer.json of {files.where} adds the token {missing[0]!r}, which added_tokens_decoder in "
            "tokenizer_config.json lacks; expected both to add the same."
        )


def _whole(files: _Files, pieces: tuple[str, ...], cased: bool | None) -> Vocabulary:
    """The tokenizer of ``tokenizer.json`` as it is: BERT's own if it is that in other words."""
    listed = listed_tokens(files.listed, files.where)
    own = {name for name in SPECIAL if name in listed and listed[name].special}
    if own != {name for name in SPECIAL if name in pieces} or _other_part(files, pieces) is not None:
        return _pipeline(files, pieces, cased)
    settings = {
        name: files.normalizer[theirs] for name, theirs in _SETTINGS.items() if theirs in files.normalizer
    }
    settings.setdefault("do_lower_case", True)
    added = added_tokens(pieces, files.settings, files.where, files.listed, both=True)
    return make_vocabulary(pieces, files.where, cased, settings, added)


def _pipeline(files: _Files, pieces: tuple[str, ...], cased: bool | None) -> Vocabulary:
    """A tokenizer that is not BERT's, taken whole."""
    from tokenizers import Tokenizer

    if '"Regex"' in json.dumps([files.saved.get("normalizer"), files.saved.get("pre_tokenizer")]):
        raise CheckpointError(
            f"tokenizer.json of {files.where} splits or replaces by a regular expression, which multibench does not "
            "run: it may take for ever."
        )
    content = json.dumps({**files.saved, "truncation": None, "padding": None}, sort_keys=True)
    added = added_tokens(pieces, files.settings, files.where, files.listed, both=True, plain=False)
    try:
        normalizer = Tokenizer.from_str(content).normalizer
        lower = normalizer is not None and normalizer.normalize_str("A") == "a"
        checked = make_vocabulary(pieces, files.where, cased, {"do_lower_case": lower})
        vocabulary = replace(checked, added=added, pipeline=content)
        tokenizer = vocabulary.tokenizer()
        pair = tokenizer.encode("", "")
        numbers = {token.content: tokenizer.token_to_id(token.content) for token in added}
    except CheckpointError:
        raise
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(
            f"tokenizer.json of {files.where} is no tokenizer: {str(error)[:200].rstrip('.')}."
        ) from error
    cls, sep = (vocabulary.id_of(name) for name in ("[CLS]", "[SEP]"))
    if (pair.ids, pair.type_ids) != ([cls, sep, sep], [0, 0, 1]):
        raise CheckpointError(
            f"tokenizer.json of {files.where} has the post_processor {_called(files.saved.get('post_processor'))}, "
            "which does not put pairs between [CLS] and [SEP] as BERT's does."
        )
    other = next((token for token in added if numbers[token.content] != token.number), None)
    if other is not None:
        raise CheckpointError(
            f"tokenizer.json of {files.where} gives the added token {other.content!r} the id "
            f"{numbers[other.content]}, where {other.number} is stated."
        )
    return vocabulary
