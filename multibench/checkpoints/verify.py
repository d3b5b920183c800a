"""Whether a checkpoint on this machine is what it says it is: its files, weights, vocabulary and casing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multibench.cache import expanded
from multibench.checkpoints.agreement import agreement
from multibench.checkpoints.catalogue.checkpoint import Checkpoint
from multibench.checkpoints.catalogue.lookup import find
from multibench.checkpoints.download import hub
from multibench.checkpoints.download.bring import read_record
from multibench.checkpoints.download.locate import find_local, local_checkpoint
from multibench.checkpoints.fingerprint import Fingerprint, fingerprint, unknown_share
from multibench.checkpoints.folder import CheckpointFolder, open_folder
from multibench.checkpoints.formats.foreign import find_foreign, is_there
from multibench.errors import CheckpointError, UnavailableError

__all__ = ["Check", "Verified", "verify_checkpoint", "verify_checkpoints"]

# An uncased vocabulary has no capitals outside of its special pieces, a cased one thousands.
_CAPITALS = 0.01
_UNKNOWN = 0.5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. ``ok`` is None where nothing is known that it could be held against."""

    name: str
    ok: bool | None
    says: str

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON."""
        return {"name": self.name, "ok": self.ok, "says": self.says}


@dataclass(frozen=True)
class Verified:
    """What was found about one checkpoint. ``weights`` is SHA-256 of the weights, whatever format holds them."""

    checkpoint: Checkpoint
    path: Path
    checks: tuple[Check, ...]
    weights: str | None = None
    content: str | None = None
    """SHA-256 of weights, configuration and vocabulary: what runs are identified by."""
    fingerprint: Fingerprint | None = None
    source: dict[str, Any] | None = None
    """Where the files were fetched from, and at which revision, if that was recorded."""

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.ok is not False for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Everything that was found, ready for JSON."""
        return {
            "checkpoint": self.checkpoint.id,
            "path": str(self.path),
            "ok": self.ok,
            "weights_sha256": self.weights,
            "content_sha256": self.content,
            "source": self.source,
            "checks": [check.to_dict() for check in self.checks],
            "fingerprint": None if self.fingerprint is None else self.fingerprint.to_dict(),
        }


def verify_checkpoints(
    names: Sequence[str], root: Path | None = None, expected: str | None = None
) -> list[Verified]:
    """Check each of ``names`` (of the catalogue, or paths), and whether two of them hold the same weights.

    ``expected`` is the SHA-256 that the weights of a single checkpoint must have. Raises
    ``UnavailableError`` for one that is not on this machine, and ``CheckpointError`` if ``expected`` is given
    for several.
    """
    if expected is not None and len(names) != 1:
        raise CheckpointError(f"One SHA-256 is expected of {len(names)} checkpoints; give one of them.")
    found = [_resolve(name, root) for name in dict.fromkeys(names)]
    verified = [verify_checkpoint(checkpoint, path, expected) for checkpoint, path in found]
    return [replace(each, checks=(*each.checks, *_against_others(each, verified))) for each in verified]


def verify_checkpoint(checkpoint: Checkpoint, path: Path, expected: str | None = None) -> Verified:
    """Check the files at ``path`` against what is known about ``checkpoint``. What is wrong becomes a failed check."""
    files, source = _files(path)
    try:
        folder = open_folder(path, checkpoint.cased)
    except CheckpointError as error:
        return Verified(checkpoint, path, (*files, Check("opens", False, str(error))), source=source)
    checks = [
        *files,
        *_architecture(checkpoint, folder),
        _vocabulary(folder),
        _casing(folder),
        _tokenizer(folder),
        _ids(folder),
        *(Check("format", None, note) for note in folder.notes),
    ]
    try:
        digest = folder.weights_sha256()
        checks.extend(_pinned(digest, expected))
        seen = fingerprint(folder)
    except CheckpointError as error:
        checks.append(Check("weights", False, str(error)))
        return Verified(checkpoint, path, tuple(checks), source=source)
    checks.append(_weights(seen, folder))
    if seen.untrained_pooler:
        checks.append(Check("pooler", None, "looks as it was initialised: no training has changed it"))
    return Verified(checkpoint, path, tuple(checks), digest, folder.content, seen, source)


def _resolve(name: str, root: Path | None) -> tuple[Checkpoint, Path]:
    below = root is not None and is_there(root / name) and find_foreign(root / name) is not None
    if is_there(expanded(name)) or below or (root is not None and (root / name / "config.json").exists()):
        try:
            checkpoint = find(name)
        except KeyError:
            checkpoint = local_checkpoint(name, root, None, None, None)
    else:
        checkpoint = find(name)
    path = find_local(checkpoint, root)
    if path is None:
        raise UnavailableError(
            f"{checkpoint.id} is not on this machine. `multibench fetch {checkpoint.id} --out DIR` brings it; "
            "or give the folder that holds it with --checkpoints."
        )
    return checkpoint, path


def _files(path: Path) -> tuple[list[Check], dict[str, Any] | None]:
    """The files against the hashes that were recorded when they were fetched, and where they were fetched from."""
    if not path.is_dir():
        return [], None
    try:
        record = read_record(path)
        wrong = [] if record is None else hub.differing(path, record["files"])
    except CheckpointError as error:
        return [Check("files", False, str(error))], None
    if record is None:
        return [Check("files", None, "no record of the hashes they had when they were fetched")], None
    if wrong:
        return [Check("files", False, f"changed since they were fetched: {', '.join(wrong)}")], record[
            "source"
        ]
    return [Check("files", True, f"{len(record['files'])} are as they were fetched")], record["source"]


def _pinned(digest: str, expected: str | None) -> list[Check]:
    if expected is None:
        return []
    if digest == expected.lower():
        return [Check("sha256", True, "the weights have the SHA-256 that was given")]
    return [Check("sha256", False, f"the weights have the SHA-256 {digest}, expected was {expected}")]


def _weights(seen: Fingerprint, folder: CheckpointFolder) -> Check:
    beside = len(folder.weights()) - seen.tensors
    heads = f"; {beside} tensors of heads beside it" if beside else ""
    says = f"{seen.tensors} tensors with {seen.parameters:,} parameters fill the encoder to the last{heads}"
    return Check("weights", True, says)


def _architecture(checkpoint: Checkpoint, folder: CheckpointFolder) -> list[Check]:
    """The configuration against the catalogue, which knows nothing of a folder of one's own."""
    if any(source.kind == "folder" for source in checkpoint.sources):
        return []
    known = checkpoint.architecture.to_dict()
    names = {
        "model_type": ("model_type",),
        "layers": ("num_hidden_layers", "n_layers"),
        "hidden": ("hidden_size", "dim"),
        "heads": ("num_attention_heads", "n_heads"),
        "intermediate": ("intermediate_size", "hidden_dim"),
    }
    wrong = []
    for fact, keys in names.items():
        value = next(folder.config[key] for key in keys if key in folder.config)
        if known[fact] not in (None, value):
            wrong.append(f"{fact} is {value}, the catalogue says {known[fact]}")
    if wrong:
        return [Check("architecture", False, "; ".join(wrong))]
    says = f"{known['layers']} layers of width {known['hidden']}, as the catalogue says"
    return [Check("architecture", True, says)]


def _vocabulary(folder: CheckpointFolder) -> Check:
    pieces, embeddings = len(folder.vocabulary), folder.config["vocab_size"]
    repeated = pieces - len(set(folder.vocabulary.pieces))
    if repeated:
        return Check("vocabulary", False, f"{repeated} of {pieces:,} pieces are there twice")
    beside = folder.vocabulary.tokens - pieces
    added = f" and {beside} added tokens" if beside else ""
    padding = embeddings - pieces - beside
    unused = f", {padding} of them padding" if padding else ""
    return Check("vocabulary", True, f"{pieces:,} pieces{added} for {embeddings:,} embeddings{unused}")


def _casing(folder: CheckpointFolder) -> Check:
    """Whether the pieces can be what a tokenizer that lower-cases, or does not, was made with."""
    pieces = [piece for piece in folder.vocabulary.pieces if not piece.startswith("[")]
    share = sum(piece != piece.lower() for piece in pieces) / max(1, len(pieces))
    lower = folder.vocabulary.lower_case
    if lower and share > _CAPITALS:
        says = f"the tokenizer lower-cases, but {share:.0%} of the pieces have capitals: nothing could ever reach them"
        return Check("casing", False, says)
    if not lower and share < _CAPITALS:
        says = "the tokenizer keeps capitals, but no piece has any: every capital would be [UNK]"
        return Check("casing", False, says)
    kind = "lower-cased" if lower else "cased"
    return Check("casing", True, f"{kind}, and so are the pieces ({share:.1%} with capitals)")


def _tokenizer(folder: CheckpointFolder) -> Check:
    unknown = unknown_share(folder)
    if unknown > _UNKNOWN:
        return Check("tokenizer", False, f"{unknown:.0%} of the tokens of plain English sentences are [UNK]")
    return Check("tokenizer", True, f"{unknown:.0%} of the tokens of plain English sentences are [UNK]")


def _ids(folder: CheckpointFolder) -> Check:
    """Token ids here against those of transformers' own tokenizer of the folder."""
    found = agreement(folder)
    if isinstance(found, str):
        return Check("ids", None, found)
    return Check("ids", found.first is None, found.sentence())


def _against_others(one: Verified, others: Iterable[Verified]) -> list[Check]:
    """Which others hold the same weights; and whether an alias does, if what it stands for is among them."""
    rest = [other for other in others if other is not one and other.weights and one.weights]
    same = [other.checkpoint.id for other in rest if other.weights == one.weights]
    checks = []
    for other in rest:
        if one.checkpoint.alias_of == other.checkpoint.id and other.checkpoint.id not in same:
            says = f"is listed as a second name of {other.checkpoint.id}, whose weights are others"
            checks.append(Check("alias", False, says))
    if same:
        checks.append(Check("duplicate", None, f"holds the same weights as {', '.join(same)}"))
    return checks
