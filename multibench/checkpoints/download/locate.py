"""From a catalogue entry to a folder on this machine; fetched from the Hub if it must and may be."""

from __future__ import annotations

from pathlib import Path

from multibench import network
from multibench.cache import expanded
from multibench.checkpoints.catalogue.architecture import Architecture
from multibench.checkpoints.catalogue.checkpoint import LOCAL_FAMILY, Checkpoint, Evidence, Source
from multibench.checkpoints.download import hub
from multibench.checkpoints.download.urls import address_of
from multibench.checkpoints.formats.config import ModelConfig, normalised_config, read_config
from multibench.checkpoints.formats.foreign import find_foreign, is_there
from multibench.checkpoints.formats.huggingface import has_weights
from multibench.errors import CheckpointError, StorageError, UnavailableError

__all__ = ["fetch", "fetch_from_hub", "find_below", "find_local", "local_checkpoint"]

_PACKAGE = Path(__file__).parents[2]


def _hub_sources(checkpoint: Checkpoint) -> list[Source]:
    return [source for source in checkpoint.sources if source.kind == "hub" and source.weights]


def find_below(checkpoint: Checkpoint, root: Path) -> Path | None:
    """The folder of ``checkpoint`` below ``root``, by any of its names, with or without the organisation.

    Or its ``.nemo`` archive in ``root`` itself.
    """
    for name in (checkpoint.id, *checkpoint.names):
        for folder in (root / name, root / name.rpartition("/")[2]):
            if has_weights(folder) or find_foreign(folder) is not None:
                return folder
    # Archives that carry a model's name can lie there as they were downloaded.
    names = (source.file or "" for source in checkpoint.sources)
    files = (root / name for name in names if name.endswith(".nemo"))
    return next((file for file in files if file.is_file()), None)


def find_local(checkpoint: Checkpoint, root: Path | None = None) -> Path | None:
    """The folder of ``checkpoint`` on this machine, without touching the network; None if there is none.

    Looks below ``root`` (``--checkpoints``), then for what ships with the package, then in the Hugging
    Face cache, where a download that is not whole, or not what its name says, does not count.
    """
    if root is not None and (found := find_below(checkpoint, root)) is not None:
        return found
    for source in checkpoint.sources:
        if source.kind == "folder":
            return Path(source.location)
        if source.kind == "builtin":
            return _PACKAGE / source.location
    snapshots = (hub.cached(source.location, source.revision) for source in _hub_sources(checkpoint))
    return next((folder for folder in snapshots if folder is not None), None)


def fetch(checkpoint: Checkpoint, root: Path | None = None) -> Path:
    """The folder of ``checkpoint``, downloaded from the Hub if it is not on this machine.

    Raises ``UnavailableError``, saying what to put where, if it cannot be had, and ``StorageError`` if
    there is no room for it.
    """
    return find_local(checkpoint, root) or fetch_from_hub(checkpoint, root)[0]


def fetch_from_hub(
    checkpoint: Checkpoint, root: Path | None, cache: Path | None = None
) -> tuple[Path, Source]:
    """Download ``checkpoint`` into the Hub client's cache, or into ``cache``: the snapshot, and where it is from.

    Mirrors are asked in the catalogue's order. ``root`` is where a person could put the files. Raises
    ``UnavailableError`` and ``StorageError``.
    """
    put = f"Put its files (config.json, vocab.txt, weights) into {root or Path('DIR')}/{checkpoint.id}"
    by_hand = put + ("." if root else " and give --checkpoints DIR.")
    sources = _hub_sources(checkpoint)
    if not sources:
        known = any(address_of(source) is not None for source in checkpoint.sources)
        by_address = f"`multibench fetch {checkpoint.id} --out DIR` brings it. Or: " if known else ""
        places = "; ".join(f"{s.kind}: {s.location}" for s in checkpoint.sources) or "nowhere known"
        raise UnavailableError(
            f"{checkpoint.id} is not on this machine and not on the Hub with its weights ({places}). "
            f"{by_address}{by_hand}"
        )
    if not network.hub_is_reachable():
        raise UnavailableError(
            f"{checkpoint.id} is not on this machine and the Hugging Face Hub cannot be reached"
            f"{' (offline was asked for)' if network.is_offline() else ''}. {by_hand}"
        )
    failures = []
    for source in sources:
        try:
            return hub.download(source.location, source.revision, cache), source
        except StorageError:
            raise
        except Exception as error:  # the client raises its own kinds, OSError, ValueError and its transport's
            failures.append(f"{source.location}: {hub.why(error)}")
    raise UnavailableError(f"{checkpoint.id} could not be fetched ({'; '.join(failures)}). {by_hand}")


def local_checkpoint(
    path: str, root: Path | None, family: str | None, pretraining_seed: int | None, step: int | None
) -> Checkpoint:
    """A folder, or file of a foreign format, of one's own as a catalogue entry.

    ``path`` is absolute, below ``root``, or below here. Raises ``CheckpointError`` if there is
    nothing, or nothing that describes a model.
    """
    given = expanded(path)
    candidates = [given] if given.is_absolute() or root is None else [root / given, given]
    folder = next((c for c in candidates if is_there(c)), None)
    if folder is None:
        looked = " or ".join(str(c) for c in candidates)
        hint = (
            ""
            if root is not None or given.is_absolute()
            else " Relative paths are looked for below --checkpoints DIR, too."
        )
        raise CheckpointError(f"There is no checkpoint folder {looked}.{hint}")
    try:
        foreign = find_foreign(folder)
        config = (
            read_config(folder)
            if foreign is None
            else normalised_config(foreign.description(None)[0], foreign.found)
        )
        architecture = _architecture(config)
    except CheckpointError as error:
        if str(folder) in str(error):
            raise
        raise CheckpointError(f"{folder / 'config.json'} describes no model: {error}") from error
    evidence = Evidence("seen", "the folder itself")
    return Checkpoint(
        id=path,
        family=family or LOCAL_FAMILY,
        architecture=architecture,
        sources=(Source("folder", str(folder.resolve()), evidence),),
        pretraining_seed=pretraining_seed,
        step=step,
        provenance={"id": evidence},
    )


def _architecture(config: ModelConfig) -> Architecture:
    bert = config["model_type"] != "distilbert"
    return Architecture(
        model_type=config["model_type"],
        layers=config["num_hidden_layers" if bert else "n_layers"],
        hidden=config["hidden_size" if bert else "dim"],
        heads=config["num_attention_heads" if bert else "n_heads"],
        intermediate=config["intermediate_size" if bert else "hidden_dim"],
        vocab_size=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
        type_vocab=config["type_vocab_size"] if bert else 0,
    )
