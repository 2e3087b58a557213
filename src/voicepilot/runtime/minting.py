"""Fetches keys: every attempt has a limit, and answers the core once, whatever the key service does."""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import traceback
from collections.abc import Awaitable, Callable
from functools import partial

from voicepilot.errors import BadReplyError, KeyTimeoutError, fault_of
from voicepilot.lifecycle.effects import MintKey
from voicepilot.lifecycle.inputs import Input, MintFailed
from voicepilot.lifecycle.session import Session
from voicepilot.ports import EphemeralKey, KeyMinter, KeyRequest
from voicepilot.runtime.recovery import RecoveryLink
from voicepilot.runtime.registry import Entry, Mint
from voicepilot.runtime.supervisor import STUBBORN, StrayError, Supervisor, others_code

SHORTEST_LIFE = 1.0
"""Seconds a key must have left to be of use; renewing one that has less would be a hot loop."""

LONGEST_QUEUE = 600.0
"""Seconds after which a turn that has not come is a key service that hangs."""


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
        # Not isinstance(…, TakesTurns): a key service that stands around another passes on what it does not have.
        self._take_turn: Callable[[str], Awaitable[Callable[[], None]]] | None = getattr(minter, "take_turn", None)
        self._keep = keep
        self._recovery = recovery
        self._supervisor = supervisor
        self._apply = apply
        self._logger = logger

    def start(self, entry: Entry, order: MintKey) -> None:
        """Fetch the key that is ordered."""
        mint = entry.mint = Mint()
        mint.task = self._supervisor.spawn(self._fetch(entry, order, mint), "voicepilot-mint")

    def stop(self, entry: Entry) -> None:
        """Cancel the mint under way, or take it out of the queue."""
        mint, entry.mint = entry.mint, None
        if mint is not None:
            self._cancel(mint)

    async def _fetch(self, entry: Entry, order: MintKey, mint: Mint) -> None:
        try:
            key = await self._in_turn(entry, order, mint)
        except asyncio.CancelledError:
            if entry.mint is mint:  # not by us
                entry.mint = None
                self._failed(entry, order, StrayError("the key service cancelled its caller"))
            raise
        except Exception as error:
            self._done(entry, mint)
            self._failed(entry, order, error)
        else:
            self._done(entry, mint)
            self._keep(entry, order.ticket, key)

    async def _in_turn(self, entry: Entry, order: MintKey, mint: Mint) -> EphemeralKey:
        """Wait for the turn where the key service has turns, and only then begin what is limited and judged."""
        try:
            if self._take_turn is not None:
                self._limit(entry, order, mint, LONGEST_QUEUE, "turn")
                with others_code():
                    mint.give_back = await self._take_turn(entry.session.session_id)
                if entry.mint is not mint:  # it came although the queueing was cancelled
                    raise asyncio.CancelledError
            self._limit(entry, order, mint, order.limit, "answer")
            return await self._attempt(entry.session, order)
        finally:
            self._let_go(mint)

    async def _attempt(self, session: Session, order: MintKey) -> EphemeralKey:
        fetch = self._minter.request_ephemeral_key if order.first else self._minter.renew_key
        with others_code():
            key = await self._recovery.attempt(partial(fetch, _request(session, order)), session, order)
        _check_key(key, session.session_id)
        return key

    @staticmethod
    def _done(entry: Entry, mint: Mint) -> None:
        if entry.mint is mint:
            entry.mint = None

    # --- limits and turns -------------------------------------------------------------------------------------------

    def _limit(self, entry: Entry, order: MintKey, mint: Mint, seconds: float, awaited: str) -> None:
        """Give up when `awaited` has not come by then. A key service may swallow its cancellation: see `_cancel`."""
        if mint.timer is not None:
            mint.timer.cancel()
        loop = asyncio.get_running_loop()
        mint.timer = loop.call_later(seconds, self._overdue, entry, order, mint, f"no {awaited} within {seconds:.1f} s")

    def _overdue(self, entry: Entry, order: MintKey, mint: Mint, why: str) -> None:
        entry.mint = None
        self._cancel(mint)
        self._failed(entry, order, KeyTimeoutError(why))

    def _cancel(self, mint: Mint) -> None:
        """Cancel the task. Should that be refused, the turn is the next one's all the same."""
        if mint.timer is not None:
            mint.timer.cancel()
        mint.task.cancel()
        if mint.give_back is not None:
            mint.timer = asyncio.get_running_loop().call_later(STUBBORN, self._let_go, mint)

    def _let_go(self, mint: Mint) -> None:
        """Nothing is awaited any more, and the turn is given back, whoever was first to see that."""
        if mint.timer is not None:
            mint.timer.cancel()
        give_back, mint.give_back = mint.give_back, None
        if give_back is None:
            return
        try:
            with others_code():
                give_back()
        except Exception as error:  # its text may quote a key
            self._logger.error("the key service raised %s for a turn given back", type(error).__name__)  # noqa: TRY400

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
