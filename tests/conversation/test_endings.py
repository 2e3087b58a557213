"""Why a conversation ends against its will: the fault that the caller of `connect` gets, whole."""

from __future__ import annotations

from tests.conversation.core import BY_HAND, Core

from voicepilot.conversation import effects as fx
from voicepilot.conversation import inputs as happen
from voicepilot.errors import Fault, FaultDomain
from voicepilot.ports import ConnectionPhase, ConnectionStatus


class TestWhyItEnds:
    WAITED = "Check the network and the provider's status; max_outage_seconds says how long is waited."

    def end(self, core: Core) -> fx.Finish:
        (finish,) = core.ordered(fx.Finish, core.all)
        return finish

    def test_an_outage_that_lasted_too_long(self) -> None:
        away = Fault(code="X", message="away", remediation="", retryable=True, domain=FaultDomain.INFRASTRUCTURE)
        core = Core(max_outage_seconds=20).connect().fall()
        core.pass_time(19).give(happen.DialFailed(core.incoming, away)).pass_time(1)
        core.give(happen.DialFailed(core.incoming, away))
        fault = Fault(
            code="CONVERSATION_LOST",
            message="no connection for 20 s: away",
            remediation=self.WAITED,
            retryable=True,
            domain=FaultDomain.INFRASTRUCTURE,
            cause="X",
        )
        assert self.end(core) == fx.Finish("connection-lost", fault)

    def test_a_first_connection_that_was_not_there_in_time(self) -> None:
        core = Core(open_timeout_seconds=5).give(happen.ConnectAsked()).pass_time(5)
        fault = Fault(
            code="CONNECTION_TIMEOUT",
            message="no connection for 5 s: no connection was ready in time",
            remediation=self.WAITED,
            retryable=True,
            domain=FaultDomain.TRANSPORT,
        )
        assert self.end(core) == fx.Finish("connection-lost", fault)

    def test_options_that_were_refused(self) -> None:
        core = Core({"voice": "none"}).give(happen.ConnectAsked(), happen.Dialled(1))
        core.give(happen.Greeted(1, {"type": "session.created", "session": BY_HAND}, None))
        (update,) = core.ordered(fx.Send)
        error = {"event_id": update.event["event_id"], "message": "no such voice", "code": "v"}
        core.hear("error", 1, error=error)
        fault = Fault(
            code="SESSION_OPTIONS_REFUSED",
            message="the provider refused the session's options: no such voice",
            remediation="Correct the option it names, in connect() or start_session().",
            retryable=False,
            domain=FaultDomain.SESSION,
            provider_code="v",
        )
        assert self.end(core) == fx.Finish("connection-refused", fault)
        assert fx.Report(ConnectionPhase.CLOSED, ConnectionStatus.FAILED, fault) in core.out
