"""Run folders: written whole or not at all, read with their checksums.

``ROOT/<suite>/runs/<run id>/`` holds ``predictions/<task>.<split>.parquet``, ``history.json`` and,
written last, ``run.json`` with the checksums of the others and its own. A run is first made under ``tmp/`` and
then renamed. A run that does not match its checksums is moved to ``damaged/`` and counts as missing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multibench.bounded import read_parquet
from multibench.errors import ResultsError, SchemaError, StorageError
from multibench.results.manifest import SCHEMA_VERSION, manifest_checksum, read_manifest

__all__ = [
    "SCHEMA_VERSION",
    "Predictions",
    "RunStore",
    "damage_of",
    "files_of",
    "read_predictions",
    "writing",
]

# In names of files half made: numbers of processes are those of one machine, folders may be shared by several.
_PROCESS = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said about each example of one split.

    ``outputs`` float32 ``(n, outputs)``: class scores in the task's label order, one score, or for spans
    the columns of ``multibench.metrics.squad.ANSWER_OUTPUTS``. ``labels`` int64 or float64 ``(n,)``, None
    where the split has none. ``texts``, for spans only, are the best non-null answers ``(n,)``: with
    the null odds in ``outputs`` they give the answers under any threshold. ``clusters`` and ``strata`` are int64
    numbers ``(n,)`` of what each example shares with others (an article), and of the fixed part that it belongs to.
    """

    ids: tuple[str, ...]
    outputs: NDArray[np.float32]
    labels: NDArray[Any] | None
    texts: tuple[str, ...] | None = None
    clusters: NDArray[np.int64] | None = None
    strata: NDArray[np.int64] | None = None


def _error_number(error: Exception) -> int | None:
    """The operating system's number of an error, which libraries written in Rust tell in words only."""
    if isinstance(error, OSError):
        return error.errno or 0
    said = re.search(r"\(os error (\d+)\)", str(error))
    return None if said is None else int(said.group(1))


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into a ``StorageError`` with a sentence."""
    try:
        yield
    except Exception as error:
        number = _error_number(error)
        if number is None:
            raise
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "permission is denied",
            errno.EPERM: "permission is denied",
            errno.ENOTDIR: "a part of the path is a file",
        }
        reason = reasons.get(number, os.strerror(number))
        raise StorageError(
            f"Nothing could be written to {folder}: {reason}. All finished runs are kept; "
            "make room or give another --results folder, and repeat the command."
        ) from error


def _write_predictions(path: Path, predictions: Predictions) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"id": pa.array(predictions.ids, pa.string())}
    if predictions.labels is not None:
        columns["label"] = pa.array(predictions.labels)
    names = [f"output_{k}" for k in range(predictions.outputs.shape[1])]
    for k, name in enumerate(names):
        columns[name] = pa.array(np.ascontiguousarray(predictions.outputs[:, k]))
    if predictions.texts is not None:
        columns["text"] = pa.array(predictions.texts, pa.string())
    shared = {"cluster": predictions.clusters, "stratum": predictions.strata}
    codes = {name: pa.array(each, pa.int32()) for name, each in shared.items() if each is not None}
    # By its bytes: pyarrow takes no texts of names that are not UTF-8.
    with pa.OSFile(os.fsencode(path), "wb") as file:
        pq.write_table(
            pa.table({**columns, **codes}),
            file,
            compression="zstd",
            use_dictionary=False,
            use_byte_stream_split=names,
            column_encoding=dict.fromkeys(codes, "DELTA_BINARY_PACKED") or None,
            write_statistics=False,
        )


def read_predictions(path: Path, content: bytes | None = None) -> Predictions:
    """The predictions in one parquet file, whose ``content`` may have been read already.

    Raises ``ResultsError`` if it cannot be read as such.
    """
    import pyarrow as pa

    try:
        table = read_parquet(path.read_bytes() if content is None else content)
        count = sum(name.startswith("output_") for name in table.column_names)
        outputs = np.stack([table[f"output_{k}"].to_numpy() for k in range(count)], axis=1)
        found = Predictions(
            ids=tuple(table["id"].to_pylist()),
            outputs=outputs,
            labels=table["label"].to_numpy() if "label" in table.column_names else None,
            texts=tuple(table["text"].to_pylist()) if "text" in table.column_names else None,
            clusters=_codes(table, "cluster"),
            strata=_codes(table, "stratum"),
        )
        _refuse_types(found)
        return found
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResultsError(f"{path} cannot be read as predictions: {why}") from error


def _refuse_types(found: Predictions) -> None:
    """Raise ``ValueError`` for columns of other types than ``Predictions`` has."""
    if not all(isinstance(name, str) for name in found.ids):
        raise ValueError("its ids are no texts.")
    if found.outputs.dtype.kind != "f":
        raise ValueError("its outputs are not floating-point numbers.")
    if found.labels is not None and found.labels.dtype not in (np.int64, np.float64):
        raise ValueError("its labels are no numbers.")
    if found.texts is not None and not all(isinstance(text, str) for text in found.texts):
        raise ValueError("its answers are no texts.")


def _codes(table: Any, name: str) -> NDArray[np.int64] | None:
    if name not in table.column_names:
        return None
    values = table[name].to_numpy()
    if values.dtype.kind != "i" or (values < 0).any():
        raise ValueError(f"its column '{name}' holds other things than numbers from 0.")
    return np.asarray(values, dtype=np.int64)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damage_in(folder: Path, run_id: str, weights: bool = True) -> str | None:
    try:
        manifest = read_manifest(folder, run_id)
    except SchemaError:
        raise
    except ResultsError as error:
        return str(error)
    return damage_of(folder, manifest, files_of(manifest, weights))


def files_of(manifest: dict[str, Any], weights: bool) -> list[str]:
    """Names of the files that belong to a run, kept weights only if asked for."""
    return [name for name in manifest["checksums"] if weights or not name.startswith("weights/")]


def damage_of(folder: Path, manifest: dict[str, Any], names: Iterable[str]) -> str | None:
    """Why the run in ``folder`` cannot be trusted, after reading its files ``names``; None if they are right."""
    for name in names:
        path = folder / name
        try:
            if _sha256(path) != manifest["checksums"][name]:
                return f"{path} does not match its checksum"
        except OSError as error:
            return f"{path} cannot be read: {error.strerror}"
    return None


def _fill(
    folder: Path,
    run_id: str,
    record: dict[str, Any],
    history: dict[str, Any],
    predictions: dict[str, Predictions],
    weights: Path | None = None,
) -> list[Path]:
    """Write all that belongs to a run into the new ``folder``; returns what has to be on the disk before it counts."""
    (folder / "predictions").mkdir(parents=True)
    for name, part in predictions.items():
        _write_predictions(folder / "predictions" / f"{name}.parquet", part)
    (folder / "history.json").write_text(json.dumps(history), "utf-8")
    if weights is not None:
        shutil.move(str(weights), folder / "weights")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): _sha256(path) for path in files}
    manifest = {"schema": SCHEMA_VERSION, "run_id": run_id, **record, "checksums": sums}
    manifest["checksum"] = manifest_checksum(json.loads(json.dumps(manifest)))
    (folder / "run.json").write_text(json.dumps(manifest, indent=1), "utf-8")
    return [*files, folder / "run.json", folder / "predictions", folder]


class RunStore:
    """The runs of one suite in ``folder`` (``RESULTS/<suite>``)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.index = folder / "index.jsonl"
        """What ``results.index`` remembers of the runs; it may be missing or deleted at any time."""

    def path(self, run_id: str) -> Path:
        """Where the run is, or would be."""
        return self.runs / run_id

    def write(
        self,
        run_id: str,
        record: dict[str, Any],
        history: dict[str, Any],
        predictions: dict[str, Predictions],
        weights: Path | None = None,
        replace: bool = False,
    ) -> None:
        """Store a run; ``predictions`` by ``task.split``, ``weights`` a folder to move in.

        If the run is stored already, that one stays, unless ``replace`` says that this one is more
        complete; the old one then moves to ``replaced/``. Raises ``StorageError`` if the disk refuses;
        nothing is left behind then.
        """
        temporary = self._temporary(run_id)
        with writing(self.folder):
            try:
                for path in _fill(temporary, run_id, record, history, predictions, weights):
                    _sync(path)
                self.runs.mkdir(exist_ok=True)
                if replace:
                    self._move_away(run_id, "replaced")
                self._publish(temporary, run_id)
                _sync(self.runs)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def write_all(self, runs: Iterable[tuple[str, dict[str, Any], dict[str, Predictions]]]) -> None:
        """Store many runs without a history: ids, records and predictions as in ``write``.

        They reach the disk together, which takes a fraction of the time; none appears before all are there.
        """
        made: dict[Path, str] = {}
        with writing(self.folder):
            try:
                for run_id, record, predictions in runs:
                    temporary = self._temporary(run_id)
                    made[temporary] = run_id
                    _fill(temporary, run_id, record, {}, predictions)
                os.sync()
                self.runs.mkdir(parents=True, exist_ok=True)
                for temporary, run_id in made.items():
                    self._publish(temporary, run_id)
                _sync(self.runs)
            finally:
                for temporary in made:
                    shutil.rmtree(temporary, ignore_errors=True)

    def _temporary(self, run_id: str) -> Path:
        return self.folder / "tmp" / f"{run_id}.{_PROCESS}.{uuid.uuid4().hex[:8]}"

    def _publish(self, temporary: Path, run_id: str) -> None:
        """Give a folder that is whole its name; if somebody else stored this very run first, theirs is as good."""
        try:
            temporary.rename(self.path(run_id))
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise

    def run_ids(self) -> list[str]:
        """Ids of all stored runs, sorted, without opening them."""
        try:
            return sorted(entry.name for entry in os.scandir(self.runs) if entry.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ResultsError(
                f"{self.runs} cannot be read as a folder of runs: {error.strerror}."
            ) from error

    def manifest(self, run_id: str) -> dict[str, Any]:
        """``run.json`` of a run. Raises ``ResultsError`` if it is damaged or of another run, ``SchemaError`` if it is
        whole and of another version.
        """
        return read_manifest(self.path(run_id), run_id)

    def damage(self, run_id: str, weights: bool = True) -> str | None:
        """Why the stored run cannot be trusted, as a sentence; None if every checksum is right.

        Without ``weights`` kept weights are not read. Raises ``SchemaError`` for results of another
        version, which is no damage.
        """
        damage = _damage_in(self.path(run_id), run_id, weights)
        if damage is not None:
            self.forget()
        return damage

    def forget(self) -> None:
        """Drop the index: what it vouched for has changed without a trace, so everything is to be read again."""
        with contextlib.suppress(OSError):
            self.index.unlink()

    def set_aside(self, run_id: str) -> Path:
        """Move a damaged run out of the way and return where it is now; nothing is deleted."""
        with writing(self.folder):
            return self._move_away(run_id, "damaged")

    def retire(self, run_id: str) -> Path:
        """Move a run that is to be made again out of the way and return where it is now; nothing is deleted."""
        with writing(self.folder):
            return self._move_away(run_id, "replaced")

    def scratch(self, run_id: str) -> Path:
        """A new folder on the same file system, for files that ``write`` will move in."""
        with writing(self.folder):
            folder = Path(f"{self._temporary(run_id)}.scratch")
            folder.mkdir(parents=True)
        return folder

    @contextlib.contextmanager
    def leaving_nothing(self) -> Iterator[None]:
        """At the end of the block nothing half made by this process is left, wherever an interruption struck."""
        try:
            yield
        finally:
            for folder in (self.folder / "tmp").glob(f"*.{_PROCESS}.*"):
                shutil.rmtree(folder, ignore_errors=True)

    def recover(self, run_id: str) -> None:
        """Put right what a process killed while storing left of this run; the caller holds its claim.

        A run that was written whole but not yet renamed is renamed now, the rest under ``tmp/`` deleted.
        """
        for folder in sorted((self.folder / "tmp").glob(f"{run_id}.*")):
            whole = (folder / "run.json").exists() and _damage_in(folder, run_id) is None
            if whole and not self.path(run_id).exists():
                with writing(self.folder):
                    self.runs.mkdir(exist_ok=True)
                    folder.rename(self.path(run_id))
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _move_away(self, run_id: str, where: str) -> Path:
        target = self.folder / where / f"{run_id}.{uuid.uuid4().hex[:8]}"
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path(run_id).rename(target)
        return target

    def history(self, run_id: str) -> dict[str, Any]:
        """Loss, learning rate and gradient norm of each step of a stored run."""
        path, content = self._checked(run_id, "history.json")
        try:
            history: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise ResultsError(f"{path} cannot be read: {error}.") from error
        return history

    def predictions(
        self, run_id: str, evaluation: str, manifest: dict[str, Any] | None = None
    ) -> Predictions:
        """Predictions of a run on ``task.split``, checked against the checksum in ``manifest``, the stored one."""
        path, content = self._checked(run_id, f"predictions/{evaluation}.parquet", manifest)
        return read_predictions(path, content)

    def _checked(self, run_id: str, name: str, manifest: dict[str, Any] | None = None) -> tuple[Path, bytes]:
        """A file of a run and its content, which matches its checksum: it is read only once.

        ``manifest`` is what is known of the run; a more complete one may have taken its place since.
        """
        path = self.path(run_id) / name
        expected = (manifest or self.manifest(run_id)).get("checksums", {}).get(name)
        if expected is None:
            raise ResultsError(f"The run {run_id} has no {name}.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ResultsError(f"{path} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(content).hexdigest() == expected:
            return path, content
        if manifest is not None:
            return self._checked(run_id, name)
        self.forget()
        raise ResultsError(
            f"{path} does not match its checksum. The run command sets the run aside and makes it again."
        )
