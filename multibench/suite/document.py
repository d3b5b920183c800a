"""YAML with line numbers, so that an error can say where it is; and ``key=value`` overrides."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from multibench.errors import SuiteError

__all__ = ["Document", "parse_override", "read_document"]

_MAX_BYTES = 1_000_000
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
Path_ = tuple[str | int, ...]


@dataclass
class Document:
    """The mapping in a YAML file, with the line (from 1) of each of its keys and items."""

    path: Path
    data: dict[str, Any]
    lines: dict[Path_, int]
    overrides: dict[Path_, str] = field(default_factory=dict)
    """What ``--set`` put in the place of something in the file."""

    def overridden(self, location: Path_, text: str) -> None:
        """Remember that the override ``text`` replaced what the file had at ``location``."""
        depth = len(location)
        self.lines = {at: line for at, line in self.lines.items() if at[:depth] != location}
        self.overrides[location] = text

    def where(self, location: Path_) -> str:
        """``FILE, line N`` of the innermost known part of ``location``, or the override that it came from."""
        for end in range(len(location), 0, -1):
            if location[:end] in self.overrides:
                return f"--set {self.overrides[location[:end]]}"
            if location[:end] in self.lines:
                return f"{self.path}, line {self.lines[location[:end]]}"
        return str(self.path)


def read_document(path: Path) -> Document:
    """The YAML mapping in ``path``. Raises ``SuiteError`` for a missing or malformed file."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise SuiteError(f"{path} is larger than {_MAX_BYTES:,} bytes: that is no suite file.")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SuiteError(f"There is no suite file {path}.") from None
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path} is not UTF-8 text.") from error
    except OSError as error:
        raise SuiteError(f"{path} cannot be read: {error.strerror}.") from error
    lines: dict[Path_, int] = {}
    try:
        _refuse_aliases(path, text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = None if root is None else _construct(path, root, (), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise SuiteError(f"{path}{line} is not valid YAML: {problem}.") from error
    except RecursionError as error:
        raise SuiteError(f"{path} is nested too deeply to be a suite file.") from error
    if not isinstance(data, dict):
        raise SuiteError(f"{path} holds no suite: expected keys such as 'checkpoints' and 'tasks'.")
    return Document(path, data, lines)


def _refuse_aliases(path: Path, text: str) -> None:
    # An alias inside an alias inside an alias is a file that explodes when expanded.
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.AliasToken):
            raise SuiteError(
                f"{path}, line {token.start_mark.line + 1}: suites have no YAML aliases; write it out."
            )


def _construct(path: Path, node: yaml.Node, at: Path_, lines: dict[Path_, int]) -> Any:
    lines.setdefault(at, node.start_mark.line + 1)
    if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
        raise yaml.MarkedYAMLError(problem=f"the tag {node.tag} is not allowed", problem_mark=node.start_mark)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in mapping:
                raise SuiteError(f"{path}, line {line}: '{key}' is given twice.")
            lines[(*at, key)] = line
            mapping[key] = _construct(path, value_node, (*at, key), lines)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_construct(path, item, (*at, i), lines) for i, item in enumerate(node.value)]
    return _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except ValueError as error:  # 2021-99-99 and the like
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from error
    finally:
        loader.dispose()


def parse_override(text: str) -> tuple[list[str], Any]:
    """``a.b=value`` as keys and the value, read as YAML. Raises ``SuiteError`` if it is none."""
    key, equals, value = text.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise SuiteError(f"--set {text!r}: expected key=value, such as recipe.learning_rate=2e-5.")
    try:
        return keys, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SuiteError(f"--set {text!r}: the value is not valid YAML.") from error
