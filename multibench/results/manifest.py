"""``run.json``: read, held against its own checksum, and checked before anything in it is believed.

A results folder may come from anybody. Types are checked here, once, and so are the names that become paths; whatever
reads a manifest afterwards need not ask again. The identity is hashed again, too: a record says which run it is, and
a folder is named by that.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from multibench.errors import ResultsError, SchemaError
from multibench.recipes import Hyperparameters
from multibench.results.identity import recomputed_id
from multibench.tasks.task import NAME

__all__ = ["SCHEMA_VERSION", "manifest_checksum", "read_manifest"]

# 2: labels say how fine-tuning seeds derive; predictions may have clusters. Written so; version 1 is read, too.
SCHEMA_VERSION = 2
READABLE_VERSIONS = (1, 2)

_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_TaskName = Annotated[str, StringConstraints(pattern=NAME)]
_Evaluated = Annotated[str, StringConstraints(pattern=rf"{NAME[:-1]}\.{NAME[1:]}")]
# Below the run's folder and nowhere else: history, predictions by evaluation, kept weights.
_FileName = Annotated[
    str,
    StringConstraints(
        pattern=r"^(history\.json|predictions/[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
        r"|weights(/[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}){1,4})$"
    ),
]
_Setting = bool | _Whole | float | str | None


class _Part(BaseModel):
    """Values have their very types; what newer versions add is passed over."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="ignore")


class _Identity(_Part):
    identity_version: _Count
    checkpoint: str | None
    task: _TaskName
    task_version: _Whole
    training_data: str | None
    hyperparameters: dict[str, _Setting | list[_Whole]]
    seeds: dict[str, _Whole] | None
    domain: Literal["imported"] | None = None
    labels: dict[str, Any] | None = None


class _Labels(_Part):
    family: str
    checkpoint: str
    pretraining_seed: _Whole | None
    step: _Count | None
    parameters: _Count | None
    task: _TaskName
    finetuning_seed: _Whole | None
    held_out: float | None = None
    finetuning_seed_design: Literal["nested", "shared"] | None = None
    origin: str | None = None


class _Suite(_Part):
    name: str
    recipe: str
    selection: str


class _Module(_Part):
    scores: dict[str, float | None]
    reason: str = ""


class _Evaluation(_Part):
    metrics: dict[str, float | None]
    headline: str
    examples: _Count
    data: str
    as_released: bool
    origin: str = ""
    cluster_unit: str = ""
    stratum_unit: str = ""
    evaluate: dict[str, _Module] = {}


class _TrainingData(_Part):
    data: str | None = None
    as_released: bool = True


class _Training(_Part):
    flops_per_second: float | None = None


class _Code(_Part):
    commit: str | None = None
    dirty: bool | None = None


class _Provenance(_Part):
    code: _Code | None = None
    packages: dict[str, str | None] | None = None
    host: str | None = None
    processor: str | None = None
    device: str | None = None
    accelerator: str | None = None
    card: dict[str, str | None] | None = None
    torch: str | None = None
    precision: str | None = None
    threads: _Count | None = None
    finished: str | None = None
    seconds: float | None = None
    evaluated_again: list[dict[str, Any]] = []


class _Origin(_Part):
    layout: str = ""
    from_: str = Field(default="", alias="from")
    finetuning_seeds: Literal["nested", "shared", "unknown", "crossed"] = "unknown"


@cache
def _settings_model() -> type[BaseModel]:
    """Hyperparameters by name, of their types or unknown, whatever their range."""
    fields: dict[str, Any] = {}
    for name, field in Hyperparameters.model_fields.items():
        named = {type(value) for value in get_args(field.annotation)} == {str}
        type_: Any = (str | None) if named else Optional[field.annotation]  # noqa: UP045
        fields[name] = (type_, ... if field.is_required() else None)
    return create_model("_Settings", __base__=_Part, **fields)


@cache
def _manifest_model() -> type[BaseModel]:
    settings: Any = _settings_model()

    class Manifest(_Part):
        run_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
        status: Literal["finished", "collapsed", "diverged", "failed"]
        reason: str | None
        identity: _Identity
        labels: _Labels
        suite: _Suite
        settings: settings
        evaluations: dict[_Evaluated, _Evaluation]
        training_data: _TrainingData | None = None
        training: _Training
        provenance: _Provenance
        imported: _Origin | None = None
        checksums: dict[_FileName, _Digest]

    return Manifest


def manifest_checksum(manifest: dict[str, Any]) -> str:
    """SHA-256 of the content of a manifest, as it is when read back, but for this checksum itself."""
    content = {name: value for name, value in manifest.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path, name: str) -> dict[str, Any]:
    """``run.json`` in ``folder``, whose run should be ``name``.

    Raises ``ResultsError`` if it is damaged, is none, or belongs to another run; ``SchemaError`` if it is whole and of
    another version.
    """
    path = folder / "run.json"
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ResultsError(f"{path} is missing, so this folder is no stored run.") from None
    except (ValueError, OSError, RecursionError) as error:
        raise ResultsError(f"{path} cannot be read: {error}.") from error
    if not isinstance(manifest, dict):
        raise ResultsError(f"{path} holds no JSON object.")
    if manifest.get("checksum") != manifest_checksum(manifest):
        raise ResultsError(f"{path} does not match its own checksum.")
    version = manifest.get("schema")
    if version not in READABLE_VERSIONS or isinstance(version, bool):
        raise SchemaError(
            f"{path} has results schema {version!r}; this multibench reads versions 1 and 2. "
            "Read it with the version that wrote it (run.json names it), or use another --results folder."
        )
    fault = _fault(manifest)
    if fault is not None:
        raise ResultsError(f"{path} is no record of a run: {fault}.")
    if manifest["run_id"] != name:
        raise ResultsError(
            f"{folder} holds the run {manifest['run_id']}: it is a copy or was renamed, and a run counts only in the "
            "folder that is named by its id. Remove a copy; give a renamed one its name back."
        )
    return manifest


def _fault(manifest: dict[str, Any]) -> str | None:
    """What is wrong with a manifest in a few words; None if it can be believed to be what it says."""
    try:
        _manifest_model().model_validate(manifest)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(part for part in map(str, first["loc"]) if part != "[key]")[:120]
        return f"{where!r}: {first['msg'][:1].lower()}{first['msg'][1:]} (given: {_short(first['input'])})"
    return _contradiction(manifest)


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _contradiction(manifest: dict[str, Any]) -> str | None:
    """Where the parts of a manifest speak of different runs."""
    identity, labels, settings = manifest["identity"], manifest["labels"], manifest["settings"]
    found = recomputed_id(identity)
    if found != manifest["run_id"]:
        return f"its identity is that of the run {found}, and it calls itself {manifest['run_id']}"
    if identity["task"] != labels["task"]:
        return f"its identity names the task {identity['task']}, its labels name {labels['task']}"
    for name, value in identity["hyperparameters"].items():
        if name in settings and settings[name] != value:
            return (
                f"its identity has {_short(name)} {_short(value)}, its settings have {_short(settings[name])}"
            )
    said = (manifest.get("training_data") or {}).get("data")
    if said is not None and said != identity["training_data"]:
        return "its identity was trained on other data than it says"
    elsewhere = identity.get("domain") == "imported"
    if elsewhere != ("imported" in manifest):
        return "its identity and the rest do not agree on whether it was imported"
    if elsewhere and identity.get("labels") != labels:
        return "its identity has other labels than it says"
    if not elsewhere and (identity["seeds"] is None) != (labels["finetuning_seed"] is None):
        return "its identity and its labels do not agree on whether it was trained"
    return _lacking(manifest)


def _lacking(manifest: dict[str, Any]) -> str | None:
    """Which of the files that belong to the run has no checksum."""
    needed = ["history.json", *(f"predictions/{name}.parquet" for name in manifest["evaluations"])]
    lacks = [name for name in needed if name not in manifest["checksums"]]
    return f"it lacks the checksum of {lacks[0]}" if lacks else None
