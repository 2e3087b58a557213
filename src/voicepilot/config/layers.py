"""Where settings come from, strongest first: arguments, environment, names people already have, file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from voicepilot.errors import ConfigurationError

ENV_PREFIX = "VOICEPILOT_"
ENV_DELIMITER = "__"
CONFIG_VARIABLE = "VOICEPILOT_CONFIG"
DEFAULT_FILE = "voicepilot.toml"

Values: TypeAlias = Mapping[str, Any]  # section -> field -> value, as yet unchecked
Place: TypeAlias = tuple[str, ...]

_ADDRESSES = {"base_url": "openai", "azure_endpoint": "azure"}
_KNOWN_NAMES = {
    "openai": {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"},
    "azure": {"api_key": "AZURE_OPENAI_API_KEY", "azure_endpoint": "AZURE_OPENAI_ENDPOINT"},
}


class Layer(NamedTuple):
    """One source of settings; it never shows the values it holds."""

    kind: str  # "argument", "environment", "known …" (names people already have), "default", or the file's path
    values: Values

    def __repr__(self) -> str:
        return f"Layer({self.kind!r})"

    def provider(self, field: str) -> Any:
        """A field of the provider section, None when this layer does not give it."""
        section = self.values.get("provider")
        return section.get(field) if isinstance(section, Mapping) else None

    def holds(self, path: Place) -> bool:
        """Whether this layer gives the setting at `path`."""
        at: Any = self.values
        for name in path:
            if isinstance(at, list | tuple) and name.isdecimal() and int(name) < len(at):
                at = at[int(name)]
            elif isinstance(at, Mapping) and name in at:
                at = at[name]
            else:
                return False
        return True

    def only(self, section: str) -> Layer:
        """This layer without the other sections."""
        return Layer(self.kind, {section: self.values[section]} if section in self.values else {})

    def origin(self, path: Place) -> str:
        """How to say, to the person who wrote it, where this layer has `path` from."""
        match self.kind:
            case "argument":
                return f"argument {path[-1]}"
            case "environment":
                whole = not path[1:] and isinstance(self.values.get(path[0]), Mapping)  # said field by field
                field = ENV_DELIMITER.join((path[0], "…") if whole else path[:2]).upper()  # below it is its value
                return f"environment variable {ENV_PREFIX}{field}"
            case "known openai" | "known azure":
                return f"environment variable {_KNOWN_NAMES[self.kind.removeprefix('known ')].get(path[-1], path[-1])}"
            case "known addresses":
                return f"environment variable {_KNOWN_NAMES[_ADDRESSES[path[-1]]][path[-1]]}"
            case "default":
                return "default"
        return f"{self.kind} [{'.'.join(path[:-1])}] {path[-1]}" if path[1:] else f"{self.kind} [{path[0]}]"


def gathered(arguments: Values, environment: Values, config_file: str | os.PathLike[str] | None) -> list[Layer]:
    """All layers, strongest first. Raises ConfigurationError for an unreadable file or an ambiguous provider."""
    *strong, file = unresolved(arguments, environment, config_file)
    profile = _profile([*strong, _every_known_address(), file])
    family = "openai" if profile == "openai" else "azure"
    layers = [*strong, _known_names(family), file]
    return [*_with_one_address(layers), Layer("default", {"provider": {"profile": profile}})]


def unresolved(arguments: Values, environment: Values, config_file: str | os.PathLike[str] | None) -> list[Layer]:
    """What was given, strongest first, without anything that follows from it. Raises as `gathered` does."""
    return [Layer("argument", arguments), Layer("environment", environment), _file_layer(config_file)]


def settings_file(given: str | os.PathLike[str] | None) -> Path:
    """The file that is read, where there is one: the one given, or named by `VOICEPILOT_CONFIG`, or the one here."""
    return Path(given or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE).expanduser()


def merged(layers: list[Layer]) -> dict[str, Any]:
    """One tree, in which the strongest layer that gives a setting wins."""
    tree: dict[str, Any] = {}
    for layer in reversed(layers):
        for section, values in layer.values.items():
            below = tree.get(section, {})
            if isinstance(below, dict):  # a section that is no table stays as it is, to be reported
                tree[section] = below | dict(values) if isinstance(values, Mapping) else values
    return tree


def _profile(layers: list[Layer]) -> object:
    for layer in layers:
        if (given := layer.provider("profile")) is not None:
            return given
    for layer in layers:
        families = [family for field, family in _ADDRESSES.items() if layer.provider(field) is not None]
        if len(families) > 1:
            raise ConfigurationError(
                f"profile: both an OpenAI and an Azure address are set "
                f"({' and '.join(_origin(layer, field) for field in _ADDRESSES)}), and nothing says which to use",
                field="provider.profile",
                remediation="Set VOICEPILOT_PROVIDER__PROFILE (or profile) to openai or azure, or unset one address.",
            )
        if families:
            return families[0]
    return "openai"


def _with_one_address(layers: list[Layer]) -> list[Layer]:
    # A gateway's base_url given as an argument replaces an Azure endpoint from the environment, and the reverse.
    decided = next((layer for layer in layers if any(layer.provider(field) is not None for field in _ADDRESSES)), None)
    if decided is None:
        return layers
    unused = {field for field in _ADDRESSES if decided.provider(field) is None}
    return [layer if layer is decided else _without(layer, unused) for layer in layers]


def _without(layer: Layer, fields: set[str]) -> Layer:
    section = layer.values.get("provider")
    if not isinstance(section, Mapping):
        return layer
    kept = {name: value for name, value in section.items() if name not in fields}
    return Layer(layer.kind, {**layer.values, "provider": kept})


def _origin(layer: Layer, field: str) -> str:
    return layer.origin(("provider", field)).removeprefix("environment variable ")


def _every_known_address() -> Layer:
    found = {
        field: os.environ[name]
        for group in _KNOWN_NAMES.values()
        for field, name in group.items()
        if field in _ADDRESSES and os.environ.get(name)
    }
    return Layer("known addresses", {"provider": found})


def _known_names(family: str) -> Layer:
    # OpenAI's names count for OpenAI only and Azure's for Azure only, so that no key goes to the other one.
    found = {field: os.environ[name] for field, name in _KNOWN_NAMES[family].items() if os.environ.get(name)}
    return Layer(f"known {family}", {"provider": found})


def _file_layer(given: str | os.PathLike[str] | None) -> Layer:
    wanted = given or os.environ.get(CONFIG_VARIABLE)
    path = settings_file(given)
    if not wanted and not path.is_file():
        return Layer(str(path), {})
    try:
        return Layer(str(path), tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8 text"
    origin = "argument config_file" if given else CONFIG_VARIABLE if wanted else "the working directory"
    raise ConfigurationError(
        f"config_file ({origin}): {path} cannot be read: {problem}",
        field="config_file",
        remediation="Correct the file or its path.",
    )
