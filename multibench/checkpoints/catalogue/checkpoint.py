"""What is known about a checkpoint, and how it is known: frozen records without logic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from multibench.checkpoints.catalogue.architecture import Architecture
from multibench.errors import CheckpointError

__all__ = ["LOCAL_FAMILY", "SOURCE_KINDS", "STATUSES", "Checkpoint", "Evidence", "Family", "Source"]

STATUSES = {
    "seen": "a page or file that says so was read",
    "by pattern": "follows a documented rule, but no page of its own was read",
    "inferred": "our conclusion from what was read",
}

# The family of folders of one's own of which nothing else is said.
LOCAL_FAMILY = "local"

SOURCE_KINDS = {
    "hub": "a repository on the Hugging Face Hub: `location` is its id",
    "tf_zip": "an archive of a TensorFlow 1 checkpoint: `location` is its address",
    "ngc": "a model on NVIDIA's NGC: `location` is organisation/name:version",
    "folder": "a local folder: `location` is its path",
    "builtin": "made by this package or a plug-in: `location` is its name there",
}


@dataclass(frozen=True)
class Evidence:
    """Where a fact was read (``source``) and how sure it is (``status``, one of ``STATUSES``)."""

    status: str
    source: str

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise CheckpointError(f"'{self.status}' is not a status; use one of {', '.join(STATUSES)}.")
        if not self.source.strip():
            raise CheckpointError("A fact needs a source: name the page, paper or file it was read in.")

    def to_dict(self) -> dict[str, str]:
        """Status and source, ready for JSON."""
        return {"status": self.status, "source": self.source}


@dataclass(frozen=True)
class Source:
    """One place that a checkpoint can be had from."""

    kind: str
    location: str
    evidence: Evidence
    revision: str | None = None
    """A pinned commit, 40 hexadecimal digits. None where no source gives one; the commit is then recorded."""
    file: str | None = None
    """The file inside the location that holds the weights, where there are several."""
    weights: bool = True
    """False for a repository that holds tokenizer and configuration only."""
    note: str = ""

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_KINDS:
            raise CheckpointError(
                f"'{self.kind}' is not a kind of source; use one of {', '.join(SOURCE_KINDS)}."
            )
        if self.revision is not None and not _is_commit(self.revision):
            raise CheckpointError(
                f"The revision '{self.revision}' of {self.location} is no commit of 40 hexadecimal digits."
            )

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, ready for JSON."""
        return {
            "kind": self.kind,
            "location": self.location,
            "revision": self.revision,
            "file": self.file,
            "weights": self.weights,
            "note": self.note,
            **self.evidence.to_dict(),
        }


@dataclass(frozen=True)
class Checkpoint:
    """One pretrained artifact. ``None`` stands for what no source says."""

    id: str
    family: str
    architecture: Architecture
    sources: tuple[Source, ...]
    """In order of preference."""
    pretraining_seed: int | None = None
    step: int | None = None
    """Optimisation steps of pretraining, not thousands."""
    cased: bool | None = None
    licence: str | None = None
    parameters_stated: str | None = None
    """The size as its authors print it ("110M"), which may include pretraining heads."""
    language: str | None = None
    """What its pretraining texts are written in, where that is not English alone."""
    finetuned_on: str | None = None
    """The task it was fine-tuned on after pretraining, if it was."""
    alias_of: str | None = None
    """The id that this is a second name of: same family, seed and step."""
    names: tuple[str, ...] = ()
    """Other names of the same thing, such as ids that have since moved."""
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Evidence] = field(default_factory=dict, hash=False, repr=False)
    """Fact -> evidence, for each fact that is not None or empty. Each source carries its own."""

    @property
    def parameters(self) -> int | None:
        """Parameters of the encoder, computed from its architecture; None if a size is unknown."""
        return self.architecture.parameters()

    @property
    def status(self) -> str:
        """How sure it is that the id exists: one of ``STATUSES``."""
        return self.provenance["id"].status

    def to_dict(self) -> dict[str, Any]:
        """Everything known, ready for JSON."""
        return {
            "id": self.id,
            "family": self.family,
            "pretraining_seed": self.pretraining_seed,
            "step": self.step,
            "parameters": self.parameters,
            "parameters_stated": self.parameters_stated,
            "architecture": self.architecture.to_dict(),
            "cased": self.cased,
            "language": self.language,
            "finetuned_on": self.finetuned_on,
            "alias_of": self.alias_of,
            "names": list(self.names),
            "licence": self.licence,
            "status": self.status,
            "sources": [source.to_dict() for source in self.sources],
            "notes": list(self.notes),
            "provenance": {fact: evidence.to_dict() for fact, evidence in self.provenance.items()},
        }


@dataclass(frozen=True)
class Family:
    """Checkpoints made by one pretraining procedure."""

    name: str
    title: str
    description: str
    paper: str
    """The publication, or the repository where there is none."""
    notes: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...]

    @property
    def licence(self) -> str | None:
        """The licence that all checkpoints share; None if unknown or not the same for all."""
        licences = {checkpoint.licence for checkpoint in self.checkpoints}
        return licences.pop() if len(licences) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The family without its checkpoints, but with their number, ready for JSON."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "paper": self.paper,
            "licence": self.licence,
            "checkpoints": len(self.checkpoints),
            "notes": list(self.notes),
        }


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and set(revision) <= set("0123456789abcdef")
