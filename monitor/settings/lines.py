"""Where in a configuration file something stands."""

from __future__ import annotations

import yaml

Place = tuple[str | int, ...]


def lines_of(text: str) -> dict[Place, int]:
    """Path of keys and list indexes -> line, from 1; empty if the text is no YAML."""
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    found: dict[Place, int] = {}
    _walk(root, (), found)
    return found


def line_of(lines: dict[Place, int], place: Place) -> int | None:
    """Line of the place, or of the nearest thing around it that is there."""
    while place:
        if place in lines:
            return lines[place]
        place = place[:-1]
    return None


def _walk(node: yaml.Node | None, place: Place, found: dict[Place, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            found[inner] = key.start_mark.line + 1
            _walk(value, inner, found)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            found[*place, index] = value.start_mark.line + 1
            _walk(value, (*place, index), found)
