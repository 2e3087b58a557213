"""The `voicepilot` command: what can be asked for, and how a mistake is told in one line."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Literal, NoReturn

import typer

from voicepilot import __version__
from voicepilot.cli.codes import FAILED, INTERRUPTED, PIPE_CLOSED, USAGE
from voicepilot.cli.config import config_app
from voicepilot.cli.options import AsJson, ConfigFile, Model
from voicepilot.cli.screen import sentence, silence
from voicepilot.errors import ConfigurationError, VoicePilotError

PORT = 8690

app = typer.Typer(
    help="Keeps realtime voice sessions alive: keys, renewals, time-outs, recovery.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(config_app, name="config")


def main() -> NoReturn:
    """The entry point."""
    sys.exit(run_app(sys.argv[1:]))


def run_app(arguments: list[str]) -> int:
    """The exit code: 0, 1 when something failed, 2 when what was asked for cannot be done, 128 + a signal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no dots and bars shows question marks
    try:
        code = int(app(arguments, prog_name="voicepilot", standalone_mode=False) or 0)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        code = PIPE_CLOSED
    except OSError as error:
        return _complain(f"{sentence(error.strerror or str(error))}", FAILED)
    except ConfigurationError as error:
        return _complain(f"{sentence(error.message)} {error.remediation}", USAGE)
    except VoicePilotError as error:
        return _complain(f"{sentence(error.message)} {error.remediation}", FAILED)
    except Exception as error:
        # A mistake on the command line: typer and click have a class for it each, alike in this.
        if not hasattr(error, "format_message"):
            raise
        _suggest_what_help_shows(error)
        return _complain(_usage(error, error.format_message()), USAGE)
    if code == PIPE_CLOSED:
        silence()
    return code


def _complain(text: str, code: int) -> int:
    print(f"voicepilot: {' '.join(text.split())}", file=sys.stderr)
    return code


def _suggest_what_help_shows(error: Exception) -> None:
    parameters = getattr(getattr(getattr(error, "ctx", None), "command", None), "params", ())
    hidden = {name for parameter in parameters if getattr(parameter, "hidden", False) for name in parameter.opts}
    if suggested := getattr(error, "possibilities", None):
        error.possibilities = [name for name in suggested if name not in hidden]  # type: ignore[attr-defined]


def _usage(error: Exception, said: str) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", "voicepilot")
    return f"{sentence(said)} See: {command} --help"


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"voicepilot {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(short_help="Watch voice sessions being kept alive; takes a minute.")
def demo(
    plain: Annotated[
        bool, typer.Option("--plain", help="Plain lines, as when the output is not a terminal or NO_COLOR is set.")
    ] = False,
    speed: Annotated[float, typer.Option(min=1, max=20, hidden=True, help="Let time pass so much faster.")] = 1,
) -> int:
    """Watch voice sessions being kept alive through faults; takes a minute, needs nothing.

    An emulated provider runs in this process; HTTP and WebSocket traffic on loopback is real. Keys live 20 seconds, so
    you see many renewals, a rate limit, an outage, a renewal by hand, a session ended by silence, and the purges; and
    one conversation that is carried across two handovers and a crash.

    The demo checks itself from the events it saw and from the provider's own record. Exit code: 0 if every promise was
    kept, 1 if not.
    """
    from voicepilot.cli.demo.run import demo as run_demo  # noqa: PLC0415 - --help must not wait for it

    return run_demo(speed=speed, plain=plain)


@app.command(short_help="Run a Realtime provider on this machine, to test against.")
def emulate(  # noqa: PLR0913, PLR0917 - one for each option
    host: Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 for any free one.", show_default=str(PORT))
    ] = None,
    key_life: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Seconds after which every key lapses, whatever was asked for.", show_default="as asked"
        ),
    ] = None,
    session_life: Annotated[
        float | None,
        typer.Option(metavar="S", help="Seconds after which a connection is ended as expired.", show_default="3600"),
    ] = None,
    time_scale: Annotated[
        float | None,
        typer.Option(metavar="N", help="Let lives, delays and outages pass N times faster.", show_default="1"),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC",
            help="Something to go wrong, such as mint:429:retry_after=3, outage:503:seconds=5 or "
            "session:drop:after=10. May be given more than once.",
        ),
    ] = None,
    script: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="What to answer: a YAML script, or a recording (.jsonl).", show_default="an echo"
        ),
    ] = None,
    pacing: Annotated[
        Literal["instant", "realtime"] | None,
        typer.Option(help="How fast audio answers arrive.", show_default="instant"),
    ] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Speak https and wss, with a certificate made for the occasion.")
    ] = False,
    certificate: Annotated[
        str | None, typer.Option(metavar="FILE", help="Speak TLS with this certificate (PEM) …")
    ] = None,
    private_key: Annotated[str | None, typer.Option(metavar="FILE", help="… and its private key (PEM).")] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="What is not said here is in its section emulator.", show_default="./voicepilot.toml"
        ),
    ] = None,
) -> int:
    """Run a Realtime provider on this machine, to develop and test against: no account, no cost.

    When it is ready it prints one line of JSON. Give its base_url to a client of OpenAI's, its azure_endpoint to one of
    Azure's, and any API key. Ctrl-C ends it.
    """
    from voicepilot.cli.emulate import emulate as run_emulator  # noqa: PLC0415 - --help must not wait for it

    return run_emulator(
        faults=fault or (),
        script=script,
        config_file=config,
        host=host,
        port=port,
        key_life=key_life,
        session_life=session_life,
        time_scale=time_scale,
        pacing=pacing,
        tls=tls or None,
        certificate=certificate,
        private_key=private_key,
    )


@app.command(short_help="Talk in the terminal, over a connection that outlives the provider's limit.")
def talk(
    emulator: Annotated[
        bool,
        typer.Option("--emulator", help="Talk to an emulated provider on this machine, which repeats what you say."),
    ] = False,
    connection_life: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            min=1,
            help="Seconds after which a connection is replaced.",
            show_default="as the provider says",
        ),
    ] = None,
    instructions: Annotated[str | None, typer.Option(help="What the assistant is told to be.")] = None,
    audio: Annotated[
        bool, typer.Option("--audio", help="Use microphone and speaker, too; needs the extra `audio`.")
    ] = False,
    model: Model = None,
    config: ConfigFile = None,
) -> int:
    """Hold a conversation in the terminal: type a line, read the answer, and see the connection being replaced.

    With --emulator nothing leaves this machine and no key is needed; connections live 30 seconds there. Otherwise the
    provider of the settings is used (see: voicepilot doctor). /quit or the end of the input ends it.
    """
    from voicepilot.cli.talk import talk as run_talk  # noqa: PLC0415 - --help must not wait for it

    return run_talk(
        emulated=emulator,
        connection_life=connection_life,
        instructions=instructions,
        audio=audio,
        config_file=config,
        model=model,
    )


@app.command(short_help="Check settings, credential, network, a key and a connection.")
def doctor(
    as_json: AsJson = False,
    config: ConfigFile = None,
    profile: Annotated[
        Literal["openai", "azure", "azure-preview"] | None,
        typer.Option(help="Whose protocol to speak.", show_default="by the address that is set"),
    ] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Ask here for keys; ends in /v1.")] = None,
    azure_endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="The Azure resource, https://NAME.openai.azure.com.")
    ] = None,
    model: Model = None,
    timeout: Annotated[float, typer.Option(metavar="S", min=0.1, help="Seconds each check may take.")] = 10,
) -> int:
    """Check what stands between this machine and a realtime session.

    Looks at settings, credential, name resolution, TLS and clock, asks for one key of the shortest life, and opens one
    WebSocket without saying anything. Each line is pass, warn or fail, with what to do. The API key is read from the
    environment (OPENAI_API_KEY or AZURE_OPENAI_API_KEY) or the configured source, and is never shown.

    Exit code: 0 if sessions can be started, 2 if settings or credential must be put right first, 1 if something else
    is in the way.
    """
    from voicepilot.cli.doctor import doctor as run_doctor  # noqa: PLC0415 - --help must not wait for it

    return run_doctor(
        as_json=as_json,
        timeout=timeout,
        config_file=config,
        profile=profile,
        base_url=base_url,
        azure_endpoint=azure_endpoint,
        model=model,
    )


@app.command(short_help="What a bad day at the provider does to these settings, in virtual time.")
def simulate(
    scenario: Annotated[
        str, typer.Option(metavar="NAME", help="What kind of day; --list says which there are.")
    ] = "provider-bad-day",
    sessions: Annotated[int, typer.Option(min=1, max=100_000, help="Callers, each with one session at a time.")] = 50,
    hours: Annotated[float, typer.Option(min=0.01, max=720, help="How long the day is.")] = 8,
    seed: Annotated[int, typer.Option(help="Chance follows from it: the same seed gives the same day.")] = 1,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="OPTION=A,B", help="Run the day for each value of a session option, such as margin=10,30."
        ),
    ] = None,
    as_json: AsJson = False,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a page with figures and a timeline, too.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="Use these settings.", show_default="./voicepilot.toml")
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="Say which scenarios there are, and end.")] = False,
) -> int:
    """See what a day at the provider does to these settings, before it happens.

    The real session manager, key service and recovery run in virtual time against a simulated provider; people come,
    talk and go. The report says how long sessions were without a valid key, and what it took to renew. Everything that
    must hold is checked all the time.

    Exit code: 0 if it all held, 1 if not; then the seed and the command that replays it are shown.
    """
    from voicepilot.cli.simulate import list_scenarios, simulate_days  # noqa: PLC0415 - --help must not wait for it

    if show_list:
        return list_scenarios()
    return simulate_days(
        scenario=scenario,
        sessions=sessions,
        hours=hours,
        seed=seed,
        as_json=as_json,
        html=html,
        compare=compare,
        config_file=config,
    )
