"""A long-lived credential's value, held so that showing the object never shows it."""

from __future__ import annotations

import re
from typing import Any

# Forms that provider keys and tokens take; whatever looks like one is hidden from text we pass on.
_SECRET_FORMS = re.compile(r"\b(?:sk|ek|eph|sess)[-_][\w*.\-]{4,}|\beyJ[\w-]{8,}(?:\.[\w-]*)*|[A-Za-z0-9+/_]{32,}=*")
_HIDDEN = "<hidden>"


class Secret:
    """An API key, or (`is_token`) an Entra ID token. Read with `reveal()`; repr, str and pickle never show it."""

    __slots__ = ("_value", "is_token")

    def __init__(self, value: str, *, is_token: bool | None = None) -> None:
        self._value = value
        # Entra ID tokens are JWTs, resource keys are not.
        self.is_token = value.startswith("eyJ") and value.count(".") == 2 if is_token is None else is_token

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def same_as(self, other: Secret) -> bool:
        """Whether both hold one value."""
        return self._value == other._value

    def __repr__(self) -> str:
        return "Secret(<hidden>)"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret is not pickled or copied: its value must not leave the process")


def scrubbed(text: str, secret: Secret | None = None, *, limit: int = 200) -> str:
    """`text` from outside, made fit for messages: without `secret` or anything like one, on one line, bounded."""
    if secret is not None and secret.reveal():
        text = text.replace(secret.reveal(), _HIDDEN)
    text = _SECRET_FORMS.sub(_HIDDEN, text)
    text = " ".join("".join(ch if ch.isprintable() else " " for ch in text).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
