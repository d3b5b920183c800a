"""From a catalogue entry to a folder on this machine; fetched from the Hub if it must and may be."""

from __future__ import annotations

from pathlib import Path

from multibench import network
from multibench.checkpoints.architecture import Architecture
from multibench.checkpoints.checkpoint import Checkpoint, Evidence, Source
from multibench.checkpoints.config import ModelConfig, read_config
from multibench.errors import CheckpointError, UnavailableError

__all__ = ["fetch", "find_local", "local_checkpoint"]

_PACKAGE = Path(__file__).parents[1]
_FILES = ("config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def _hub_sources(checkpoint: Checkpoint) -> list[tuple[str, str | None]]:
    return [(s.location, s.revision) for s in checkpoint.sources if s.kind == "hub" and s.weights]


def _has_weights(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any((folder / name).is_file() for name in _WEIGHTS)


def find_local(checkpoint: Checkpoint, root: Path | None = None) -> Path | None:
    """The folder of ``checkpoint`` on this machine, without touching the network; None if there is none.

    Looks below ``root`` (``--checkpoints``) for any of its names, with or without the organisation,
    then for what ships with the package, then in the Hugging Face cache.
    """
    if root is not None:
        for name in (checkpoint.id, *checkpoint.names):
            for folder in (root / name, root / name.rpartition("/")[2]):
                if _has_weights(folder):
                    return folder
    for source in checkpoint.sources:
        if source.kind == "folder":
            return Path(source.location)
        if source.kind == "builtin":
            return _PACKAGE / source.location
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for location, revision in _hub_sources(checkpoint):
        try:
            folder = Path(snapshot_download(location, revision=revision, local_files_only=True))
        except (LocalEntryNotFoundError, FileNotFoundError, ValueError):
            continue
        if _has_weights(folder) and any((folder / n).is_file() for n in ("vocab.txt", "tokenizer.json")):
            return folder
    return None


def fetch(checkpoint: Checkpoint, root: Path | None = None) -> Path:
    """The folder of ``checkpoint``, downloaded from the Hub if it is not on this machine.

    Raises ``UnavailableError``, saying what to put where, if it cannot be had.
    """
    local = find_local(checkpoint, root)
    if local is not None:
        return local
    put = f"Put its files (config.json, vocab.txt, weights) into {root or Path('DIR')}/{checkpoint.id}"
    by_hand = put + ("." if root else " and give --checkpoints DIR.")
    hub = _hub_sources(checkpoint)
    if not hub:
        places = "; ".join(f"{s.kind}: {s.location}" for s in checkpoint.sources) or "nowhere known"
        raise UnavailableError(
            f"{checkpoint.id} is not on this machine and not on the Hub with its weights ({places}). {by_hand}"
        )
    if not network.hub_is_reachable():
        raise UnavailableError(
            f"{checkpoint.id} is not on this machine and the Hugging Face Hub cannot be reached"
            f"{' (offline was asked for)' if network.is_offline() else ''}. {by_hand}"
        )
    from huggingface_hub import snapshot_download

    failures = []
    for location, revision in hub:
        try:
            folder = snapshot_download(
                location, revision=revision, allow_patterns=_wanted_files(location, revision)
            )
        except Exception as error:  # the client raises its own kinds, OSError, ValueError and its transport's
            failures.append(f"{location}: {(str(error).strip() or type(error).__name__).splitlines()[0]}")
            continue
        if _has_weights(Path(folder)):
            return Path(folder)
        failures.append(f"{location}: the repository holds no PyTorch weights")
    raise UnavailableError(f"{checkpoint.id} could not be fetched ({'; '.join(failures)}). {by_hand}")


def _wanted_files(location: str, revision: str | None) -> list[str]:
    """Configuration, vocabulary and one form of the weights, safetensors if there are any."""
    from huggingface_hub import HfApi

    names = set(HfApi().list_repo_files(location, revision=revision))
    safe = any(name.endswith(".safetensors") and "/" not in name for name in names)
    return [
        *_FILES,
        *(
            ["*.safetensors", "model.safetensors.index.json"]
            if safe
            else ["pytorch_model*.bin", "*.bin.index.json"]
        ),
    ]


def local_checkpoint(
    path: str, root: Path | None, family: str | None, pretraining_seed: int | None, step: int | None
) -> Checkpoint:
    """A folder of one's own as a catalogue entry; ``path`` is absolute, below ``root``, or below here.

    Raises ``CheckpointError`` if there is no such folder or it holds no configuration.
    """
    given = Path(path).expanduser()
    candidates = [given] if given.is_absolute() or root is None else [root / given, given]
    folder = next((c for c in candidates if c.is_dir()), None)
    if folder is None:
        looked = " or ".join(str(c) for c in candidates)
        hint = (
            ""
            if root is not None or given.is_absolute()
            else " Relative paths are looked for below --checkpoints DIR, too."
        )
        raise CheckpointError(f"There is no checkpoint folder {looked}.{hint}")
    try:
        architecture = _architecture(read_config(folder))
    except CheckpointError as error:
        if str(folder) in str(error):
            raise
        raise CheckpointError(f"{folder / 'config.json'} describes no model: {error}") from error
    evidence = Evidence("seen", "the folder itself")
    return Checkpoint(
        id=path,
        family=family or "local",
        architecture=architecture,
        sources=(Source("folder", str(folder.resolve()), evidence),),
        pretraining_seed=pretraining_seed,
        step=step,
        provenance={"id": evidence},
    )


def _architecture(config: ModelConfig) -> Architecture:
    bert = config["model_type"] == "bert"
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
