"""A server event as the reader of a conversation gets it: the provider's JSON, with its fields as attributes."""

from __future__ import annotations

from typing import Any


class ServerEvent(dict[str, Any]):
    """What the provider said, every field of it: `event["delta"]` and `event.delta` are the same.

    Objects within are ServerEvents too when read as attributes, so that `event.response.usage.total_tokens` works as
    with the official client. A field that the event does not have raises AttributeError; `event.get(name)` gives None.
    """

    __slots__ = ()

    @property
    def type(self) -> str:
        """Such as `response.output_text.delta`."""
        return str(self["type"])

    def __getattr__(self, name: str) -> Any:  # Any: the protocol's fields are as many as its events
        try:
            return _shown(self[name])
        except KeyError:
            raise AttributeError(f"a {self.get('type', 'server')} event has no {name}") from None


def _shown(value: Any) -> Any:  # Any: JSON
    if isinstance(value, dict):
        return ServerEvent(value)
    if isinstance(value, list):
        return [_shown(element) for element in value]
    return value
