"""YAML with line numbers, so that an error can say where it is; and ``key=value`` overrides."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from multibench.errors import SuiteError

__all__ = ["Document", "parse_override", "read_document"]

_MAX_BYTES = 1_000_000
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# What YAML 1.1 takes for numbers, and YAML 1.2 and people do not: 010 and 1:30.
_OLD_NUMBER = re.compile(r"[-+]?(0[0-9_]+$|[0-9_]+:)")
_OPENING = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSING = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
_DEEPEST = 50
_MOST_TOKENS = 100_000
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
        data = _parsed(path, text, lines)
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


def _parsed(path: Path, text: str, lines: dict[Path_, int]) -> Any:
    """What ``text`` says, None if nothing; ``lines`` gets the place of each part. Raises ``yaml.YAMLError``."""
    _refuse_bombs(path, text)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if root is None else _construct(path, root, (), lines)


def _refuse_bombs(path: Path, text: str) -> None:
    """Look through the tokens one by one, so that nothing grows before it is known how large it would become."""
    depth = 0
    for number, token in enumerate(yaml.scan(text, Loader=yaml.SafeLoader)):
        # An alias inside an alias inside an alias is a file that explodes when expanded.
        if isinstance(token, yaml.AliasToken):
            raise SuiteError(
                f"{path}, line {token.start_mark.line + 1}: suites have no YAML aliases; write it out."
            )
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth > _DEEPEST:
            raise SuiteError(f"{path} is nested too deeply to be a suite file.")
        if number > _MOST_TOKENS:
            raise SuiteError(f"{path} has more than {_MOST_TOKENS:,} parts, far more than a suite needs.")


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
    text = str(node.value)
    if node.tag in _NUMBER_TAGS and _OLD_NUMBER.match(text):
        what = "a number to base 8" if ":" not in text else "a number to base 60"
        raise yaml.MarkedYAMLError(
            problem=f"{text[:40]} is {what} to some readers of YAML and none to others; write a plain number, or put "
            "it in quotes if it is a text",
            problem_mark=node.start_mark,
        )
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
        return keys, _parsed(Path(f"--set {key}"), value, {})
    except (yaml.YAMLError, RecursionError) as error:
        problem = getattr(error, "problem", None)
        said = f": {problem}" if problem else ""
        raise SuiteError(f"--set {text!r}: the value is not valid YAML{said}.") from error
