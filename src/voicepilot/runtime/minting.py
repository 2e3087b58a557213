"""Fetches keys: every mint has a limit, and answers the core once, whatever the key service does."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import traceback
from collections.abc import Callable
from functools import partial

from voicepilot.errors import BadReplyError, KeyTimeoutError, fault_of
from voicepilot.lifecycle.effects import MintKey
from voicepilot.lifecycle.inputs import Input, MintFailed
from voicepilot.lifecycle.session import Session
from voicepilot.ports import EphemeralKey, KeyMinter, KeyRequest
from voicepilot.runtime.recovery import RecoveryLink
from voicepilot.runtime.registry import Entry, Mint
from voicepilot.runtime.supervisor import StrayError, Supervisor, others_code

SHORTEST_LIFE = 1.0
"""Seconds a key must have left to be of use; renewing one that has less would be a hot loop."""


class Minting:
    """The mints of one manager's sessions, each in a task beside the session's lane."""

    def __init__(
        self,
        minter: KeyMinter,
        keep: Callable[[Entry, int, EphemeralKey], None],
        recovery: RecoveryLink,
        supervisor: Supervisor,
        apply: Callable[[Entry, Input], None],
        logger: logging.Logger,
    ) -> None:
        self._minter = minter
        self._keep = keep
        self._recovery = recovery
        self._supervisor = supervisor
        self._apply = apply
        self._logger = logger

    def start(self, entry: Entry, order: MintKey) -> None:
        """Fetch the key that is ordered."""
        mint = entry.mint = Mint()
        # A key service may swallow its cancellation, so that the limit cannot be inside the task.
        mint.timer = asyncio.get_running_loop().call_later(order.limit, self._overdue, entry, order, mint)
        mint.task = self._supervisor.spawn(self._fetch(entry, order, mint), "voicepilot-mint")

    def stop(self, entry: Entry) -> None:
        """Cancel the mint under way."""
        mint, entry.mint = entry.mint, None
        if mint is not None:
            mint.timer.cancel()
            mint.task.cancel()

    def _overdue(self, entry: Entry, order: MintKey, mint: Mint) -> None:
        entry.mint = None
        mint.task.cancel()
        self._failed(entry, order, KeyTimeoutError(f"no answer within {order.limit:.1f} s"))

    async def _fetch(self, entry: Entry, order: MintKey, mint: Mint) -> None:
        session = entry.session
        fetch = self._minter.request_ephemeral_key if order.first else self._minter.renew_key
        try:
            with others_code():
                key = await self._recovery.attempt(partial(fetch, _request(session, order)), session, order)
            _check_key(key, session.session_id)
        except asyncio.CancelledError:
            if entry.mint is mint:  # not by us
                self._done(entry, mint)
                self._failed(entry, order, StrayError("the key service cancelled its caller"))
            raise
        except Exception as error:
            self._done(entry, mint)
            self._failed(entry, order, error)
        else:
            self._done(entry, mint)
            self._keep(entry, order.ticket, key)

    @staticmethod
    def _done(entry: Entry, mint: Mint) -> None:
        mint.timer.cancel()
        if entry.mint is mint:
            entry.mint = None

    def _failed(self, entry: Entry, order: MintKey, error: Exception) -> None:
        fault = fault_of(error)
        if fault.code == "UNEXPECTED_ERROR":  # its text may quote a key, so only where it came from is logged
            where = traceback.extract_tb(error.__traceback__)[-1:]
            kind, session_id = type(error).__name__, entry.session.session_id
            self._logger.error("the key service raised %s for session %s at %s", kind, session_id, where)
        entry.cause = error
        self._apply(entry, MintFailed(order.ticket, fault, *self._recovery.verdict(error, entry.session, order)))
        if not order.first:
            entry.cause = None


def _request(session: Session, order: MintKey) -> KeyRequest:
    wish = session.wish
    return KeyRequest(
        session_id=session.session_id,
        life_seconds=session.config.key_life_seconds,
        model=wish.model,
        session=copy.deepcopy(wish.session) if wish.session else {},
        labels=dict(wish.labels),
        attempt=order.attempt,
    )


def _check_key(key: EphemeralKey, session_id: str) -> None:
    """Refuse what a key service must not give: another session's key, or one that is dead on arrival."""
    if key.issued_for != session_id:
        raise BadReplyError("the key service gave a key of another session", code="FOREIGN_KEY", retryable=False)
    if not math.isfinite(key.expires_in) or key.expires_in < SHORTEST_LIFE:
        raise BadReplyError("the key service gave a key that has expired already", code="KEY_ALREADY_EXPIRED")
