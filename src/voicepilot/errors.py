"""Every error voicepilot raises, and the fault it carries as data.

    VoicePilotError
    ├── ConfigurationError            a setting or argument cannot be used (also a ValueError)
    ├── NotInitializedError           a collaborator must be initialised first
    ├── SessionError
    │   ├── SessionNotFoundError      no such session (also a KeyError)
    │   ├── SessionLimitError         max_concurrent_sessions are live already
    │   ├── SessionFaultError         about a fault, which it carries
    │   │   ├── SessionStartError     no key could be had; `__cause__` says why
    │   │   ├── SessionRenewalError   no fresh key could be had for a connection
    │   │   ├── DialError             no WebSocket to the provider could be opened
    │   │   └── ConversationLostError no connection could be had, at first or for too long; `fault` says why
    │   ├── SessionEndedError         the session was ended while somebody waited for it
    │   ├── ConversationClosedError   the conversation is over, and something was wanted of it
    │   └── ConversationFullError     there is no room for more text until there is a connection
    ├── AttemptRefusedError           a recovery executor did not let an attempt through; it costs none
    ├── OperationTimeoutError         an operation's time budget is used up and it has said nothing
    └── KeyServiceError               asking the provider for a key failed
        ├── MissingCredentialsError   nothing to authenticate with
        ├── AuthenticationError       401: the credential is refused
        ├── PermissionDeniedError     403: the credential may not do this
        ├── RequestRefusedError       other 4xx: the request itself is wrong
        ├── QuotaExceededError        429 that waiting does not cure
        ├── RateLimitError            429 that waiting cures
        ├── ProviderUnavailableError  5xx: the provider's fault
        ├── NetworkError              DNS, refused, reset, TLS
        ├── KeyTimeoutError           no answer in time
        └── BadReplyError             an answer that cannot be used

An error says what its catcher needs: a stable `code`, whether trying again can help (`retryable`), what a person can
do about it (`remediation`) and whose part failed (`fault_domain`). No error holds a secret.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class FaultDomain(StrEnum):
    """Which part of a voice application failed."""

    AUTH = "auth"
    SESSION = "session"
    TRANSPORT = "transport"
    AUDIO = "audio"
    UI = "ui"
    COPILOT = "copilot"
    INFRASTRUCTURE = "infrastructure"


class Fault(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An error as data: what sessions keep, events carry and diagnostics show."""

    code: str
    message: str
    remediation: str
    retryable: bool
    domain: FaultDomain = FaultDomain.SESSION
    retry_after: float | None = None  # seconds the provider asked us to wait
    status: int | None = None  # HTTP status, where there was one
    provider_code: str | None = None
    request_id: str | None = None
    cause: str | None = None  # the code of the fault behind this one
    at: float | None = None  # when it happened, on the manager's clock


class VoicePilotError(Exception):
    """The root of the tree; catch it to catch everything voicepilot raises on purpose."""

    code = "VOICEPILOT_ERROR"
    remediation = "See the message; if it does not help, report it with the code."
    retryable = False
    fault_domain = FaultDomain.SESSION

    def __init__(self, message: str, *, remediation: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if remediation is not None:
            self.remediation = remediation
        if code is not None:
            self.code = code
        self.add_note(self.remediation)  # so that a traceback ends with what to do

    def __str__(self) -> str:
        return self.message

    @property
    def fault(self) -> Fault:
        """The error as data."""
        return Fault(
            code=self.code,
            message=self.message,
            remediation=self.remediation,
            retryable=self.retryable,
            domain=self.fault_domain,
        )


class ConfigurationError(VoicePilotError, ValueError):
    """A setting or argument cannot be used; the message names it, what is wrong, and what would be right."""

    code = "INVALID_CONFIGURATION"
    remediation = "Correct the named setting."
    fault_domain = FaultDomain.INFRASTRUCTURE

    def __init__(self, message: str, *, field: str | None = None, remediation: str | None = None) -> None:
        super().__init__(message, remediation=remediation)
        self.field = field


class NotInitializedError(VoicePilotError, RuntimeError):
    """Something was used before `await initialize()`, or after `dispose()`."""

    code = "NOT_INITIALIZED"

    def __init__(self, collaborator: str, message: str | None = None) -> None:
        super().__init__(
            message or f"{collaborator} is not initialized: await its initialize() first",
            remediation=f"Call `await {collaborator}.initialize()` (or use `async with`) before this.",
        )
        self.collaborator = collaborator


class SessionError(VoicePilotError):
    """Something about one session."""

    code = "SESSION_ERROR"

    def __init__(self, message: str, *, session_id: str | None = None, remediation: str | None = None) -> None:
        super().__init__(message, remediation=remediation)
        self.session_id = session_id


class SessionNotFoundError(SessionError, KeyError):
    """The manager holds no session of that id."""

    code = "SESSION_NOT_FOUND"
    remediation = "Start a new session."


class SessionLimitError(SessionError):
    """As many sessions are live as `max_concurrent_sessions` allows."""

    code = "SESSION_LIMIT_REACHED"
    remediation = "End a session first, or raise max_concurrent_sessions."


class SessionFaultError(SessionError):
    """A SessionError about a fault: `fault` has all of it, and code, domain and retryable are the fault's."""

    def __init__(self, fault: Fault, *, session_id: str | None = None) -> None:
        super().__init__(fault.message, session_id=session_id, remediation=fault.remediation)
        self.code = fault.code
        self.retryable = fault.retryable
        self.fault_domain = fault.domain
        self._fault = fault

    @property
    def fault(self) -> Fault:
        """What stood in the way."""
        return self._fault


class SessionStartError(SessionFaultError):
    """No key could be had for a new session. `fault` carries what the provider said; `__cause__` is its error."""

    code = "SESSION_START_FAILED"
    fault_domain = FaultDomain.AUTH


class SessionRenewalError(SessionFaultError):
    """No fresh key could be had for a connection of a live session. `fault` carries what the renewal met."""

    code = "RENEWAL_FAILED"
    fault_domain = FaultDomain.AUTH


class SessionEndedError(SessionError):
    """The session was ended while its start, or a renewal, was under way."""

    code = "SESSION_ENDED"
    remediation = "Start a new session when ready."


class DialError(SessionFaultError):
    """No WebSocket to the provider could be opened. `fault`, and with it the error, says what stood in the way."""

    code = "DIAL_FAILED"
    fault_domain = FaultDomain.TRANSPORT


class ConversationLostError(SessionFaultError):
    """A conversation has no connection: none could be opened, or none for longer than `max_outage_seconds`."""

    code = "CONVERSATION_LOST"
    fault_domain = FaultDomain.TRANSPORT


class ConversationClosedError(SessionError):
    """The conversation is over: it was closed, or its session ended."""

    code = "CONVERSATION_CLOSED"
    remediation = "Open another with manager.connect(), in a session that is active."


class ConversationFullError(SessionError):
    """So much text waits for a connection that no more can be kept. Nothing that was accepted is lost."""

    code = "CONVERSATION_FULL"
    remediation = "Wait for the voicepilot.restored event and send it again, or raise max_queued_bytes."
    retryable = True


class AttemptRefusedError(VoicePilotError):
    """A recovery executor did not let an attempt through, for example because a breaker is open.

    It costs the round no attempt; the next one is due after `retry_in` seconds.
    """

    code = "ATTEMPT_REFUSED"
    remediation = "Nothing to do: the next attempt comes by itself."
    retryable = True

    def __init__(self, message: str, *, retry_in: float, remediation: str | None = None) -> None:
        super().__init__(message, remediation=remediation)
        self.retry_in = retry_in


class OperationTimeoutError(VoicePilotError):
    """An operation was cut off at the end of its time budget before it failed by itself. `code` is the operation's."""

    code = "OPERATION_TIMEOUT"
    remediation = "Usually passes by itself; check the network if it lasts."
    retryable = True


class KeyServiceError(VoicePilotError):
    """Asking the provider for an ephemeral key failed. Raise a subclass, or this with a code of your own."""

    code = "KEY_SERVICE_ERROR"
    fault_domain = FaultDomain.AUTH

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        remediation: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        status: int | None = None,
        provider_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, remediation=remediation, code=code)
        if retryable is not None:
            self.retryable = retryable
        self.retry_after = retry_after
        self.status = status
        self.provider_code = provider_code
        self.request_id = request_id

    @property
    def fault(self) -> Fault:
        """The error as data."""
        return Fault(
            code=self.code,
            message=self.message,
            remediation=self.remediation,
            retryable=self.retryable,
            domain=self.fault_domain,
            retry_after=self.retry_after,
            status=self.status,
            provider_code=self.provider_code,
            request_id=self.request_id,
        )


class MissingCredentialsError(KeyServiceError):
    """There is no API key, token or credential to authenticate with."""

    code = "MISSING_CREDENTIALS"
    remediation = "Set OPENAI_API_KEY (or AZURE_OPENAI_API_KEY), or pass a credential."


class AuthenticationError(KeyServiceError):
    """HTTP 401: the provider refuses the credential."""

    code = "INVALID_CREDENTIALS"
    remediation = "Check that the API key is current and belongs to this endpoint."


class PermissionDeniedError(KeyServiceError):
    """HTTP 403: the credential is known but may not mint realtime keys."""

    code = "INSUFFICIENT_PERMISSIONS"
    remediation = "Give the key or identity access to Realtime and to this model."


class RequestRefusedError(KeyServiceError):
    """Another HTTP 4xx: the request is wrong, so sending it again cannot help."""

    code = "REQUEST_REFUSED"
    remediation = "Check the base URL, the model (on Azure: the deployment name) and the session options."


class QuotaExceededError(KeyServiceError):
    """HTTP 429 because a quota or billing limit is used up; waiting seconds does not cure it."""

    code = "QUOTA_EXCEEDED"
    remediation = "Check the plan and billing of the account."


class RateLimitError(KeyServiceError):
    """HTTP 429: too many requests; `retry_after` is the provider's hint in seconds, where it gave one."""

    code = "RATE_LIMITED"
    remediation = "Wait as long as the provider asks, or request a higher limit."
    retryable = True


class ProviderUnavailableError(KeyServiceError):
    """HTTP 5xx or 408: the provider's own fault."""

    code = "PROVIDER_UNAVAILABLE"
    remediation = "Usually passes by itself; check the provider's status page if it lasts."
    retryable = True
    fault_domain = FaultDomain.INFRASTRUCTURE


class NetworkError(KeyServiceError):
    """The provider could not be reached: DNS, connection refused or reset, TLS."""

    code = "NETWORK_ERROR"
    remediation = "Check the base URL, the network, and proxy settings."
    retryable = True
    fault_domain = FaultDomain.TRANSPORT


class KeyTimeoutError(KeyServiceError):
    """No answer in time."""

    code = "KEY_REQUEST_TIMEOUT"
    remediation = "Usually passes by itself; check the network if it lasts."
    retryable = True
    fault_domain = FaultDomain.TRANSPORT


class BadReplyError(KeyServiceError):
    """The provider answered with something that is not a usable key. `code` names what is wrong with it."""

    code = "BAD_REPLY"
    remediation = "Check that the base URL is a Realtime endpoint; a proxy may be answering in its place."
    retryable = True
    fault_domain = FaultDomain.INFRASTRUCTURE


def fault_of(error: BaseException) -> Fault:
    """`error` as data, whatever raised it; an error that is not ours becomes an unexpected, retryable fault."""
    if isinstance(error, VoicePilotError):
        return error.fault
    return Fault(
        code="UNEXPECTED_ERROR",
        message=f"{type(error).__name__} in a collaborator",
        remediation="See the log for the traceback; it is a bug in the key service or the hook that raised it.",
        retryable=True,
    )
