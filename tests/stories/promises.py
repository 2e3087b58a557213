"""The sentences of the product page that can be tested at this stage. Stories name them like the seed's rows."""

from __future__ import annotations

from typing import NamedTuple


class Promise(NamedTuple):
    """One sentence, in short."""

    name: str
    text: str


PROMISES = (
    Promise(
        "Start-1", "A slot of max_concurrent_sessions is reserved (3, from configuration); every live phase counts"
    ),
    Promise("Start-2", "The key is fetched for this session: its model, options and life (600 s, 10 to 7200)"),
    Promise(
        "Start-3", "Timers armed, active, session-started, on_session_ready awaited, a frozen SessionInfo returned"
    ),
    Promise("Start-4", "Retryable faults are retried within start_timeout_seconds"),
    Promise("Start-5", "A typed error at the limit, or when no key can be had"),
    Promise("Start-6", "A failed record stays for failed_retention_seconds (300), then goes by itself"),
    Promise("Start-7", "Without session-started there is no session-ended"),
    Promise("Start-8", "Ending a starting session makes its start raise SessionEndedError"),
    Promise("Start-9", "Cancelling the start ends the session"),
    Promise("Start-10", "A key that arrives late is released"),
    Promise("Renewal-1", "One path for timer and hand: started, fetch, suspending, swap, resumed, completed"),
    Promise("Renewal-2", "The pause is the swap, not the network"),
    Promise("Renewal-3", "Due renewal_margin_seconds before expiry"),
    Promise("Renewal-4", "The spread only makes it earlier, never before half the key's life"),
    Promise("Renewal-5", "Concurrent callers share one renewal"),
    Promise("Renewal-6", "A cancelled waiter leaves it running"),
    Promise("Renewal-7", "Keys belong to their session"),
    Promise("Renewal-8", "Attempts back off: exponential, jitter, Retry-After obeyed, up to max_retry_attempts"),
    Promise("Renewal-9", "A failed round: renewal-failed, renewal-error, active but degraded; rounds repeat"),
    Promise("Renewal-10", "A lapsed key makes it recovering: it keeps its slot and tries at a capped pace"),
    Promise("Renewal-11", "While recovering, inactivity still ends it and success makes it active"),
    Promise("Renewal-12", "A cause that cannot be retried makes it failed"),
    Promise("Renewal-13", "renew_session never raises for a failed renewal"),
    Promise("End-1", "Idempotent; concurrent ends are one"),
    Promise("End-2", "At most 2 s, whatever hangs"),
    Promise("End-3", "It cancels what the session was waiting for"),
    Promise("End-4", "ending, hook, close, forget, statistics, purge, session-ended, gone"),
    Promise("End-5", "With no id it ends the current session, in whatever phase"),
    Promise("End-6", "A session that becomes failed goes through the same steps"),
    Promise("End-7", "on_session_ending gets the transcript"),
    Promise("Time-1", "Renewal, inactivity and heartbeat are deadlines in the session's state"),
    Promise("Time-2", "The clock counts suspension"),
    Promise("Time-3", "Expiry is a duration at receipt, so skew does not matter"),
    Promise("Time-4", "A jump of wall time only makes deadlines be looked at again"),
    Promise("Time-5", "A machine that slept notices within 5 s"),
    Promise("Time-6", "pause_session freezes inactivity and heartbeat, without drift, once; renewal goes on"),
    Promise("Time-7", "Recovery operations pause inactivity and heartbeat in the same way"),
    Promise("Time-8", "Heartbeats never overlap"),
    Promise("Time-9", "An update of any field reschedules what it affects, or is refused whole"),
    Promise("Time-10", "reset_inactivity_timer is cheap enough for every audio frame"),
    Promise("Telling-1", "Every phase change is published exactly once, in order, with a reason"),
    Promise("Telling-2", "Diagnostics on the event, computed when read, as of that moment"),
    Promise("Telling-3", "Sync handlers inline; async ones in a bounded queue with a time limit for each call"),
    Promise("Telling-4", "Start and end never wait for handlers"),
    Promise("Telling-5", "A handler that raises or hangs is reported and hurts nobody"),
    Promise("Telling-6", "Inputs that arrive during a step queue behind its publishing"),
    Promise("Telling-7", "end_session and dispose from inside a hook or handler return at once"),
    Promise("Telling-8", "A subscription is a handle with dispose(), also a context manager"),
    Promise("Telling-9", "Event types are the seed's strings, and each error type means one thing"),
    Promise("Diagnostics-1", "From the session's own key, timers, connection and last error"),
    Promise("Diagnostics-2", "The last error is kept whether or not anybody listens, and cleared by success"),
    Promise("Diagnostics-3", "Checks carry advice a person can follow"),
    Promise("Diagnostics-4", "A bad beat degrades, a good beat heals"),
    Promise("Diagnostics-5", "is_session_active: active or renewing"),
    Promise("Recovery-1", "Each attempt of start and renewal goes through the executor, with the seed's metadata"),
    Promise("Recovery-2", "The executor says when the next attempt is due; a refused attempt costs none"),
    Promise("Recovery-3", "Other operations are executed by it whole"),
    Promise("Recovery-4", "The standard steps act on the session that failed"),
    Promise("Recovery-5", "The degraded fallback sets the host's key and clears it when health returns"),
    Promise("Privacy-1", "A purge names target, reason and session, returns a receipt, isolates failures"),
    Promise("Secrets-1", "A key's value leaves only by credential(session_id)"),
    Promise("Dispose-1", "dispose() ends live sessions and leaves nothing; twice is safe; nothing arms a timer after"),
)
