"""`voicepilot config`: what is set and from where, whether it can be used, and what can be set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from voicepilot.cli.codes import USAGE
from voicepilot.cli.options import AsJson
from voicepilot.errors import ConfigurationError, VoicePilotError

if TYPE_CHECKING:
    from voicepilot.config.listing import Setting
    from voicepilot.config.settings import Loaded

config_app = typer.Typer(help="Show and check the settings, and what can be set.")

_File = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="Read this file.", show_default="./voicepilot.toml")
]


@config_app.callback(invoke_without_command=True)
def _options(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@config_app.command(short_help="Every setting with its source; secrets are hidden.")
def show(
    config: _File = None,
    as_json: AsJson = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not at its default.")] = False,
) -> int:
    """Show every setting in force and where it is from: a file, the environment, or the default.

    Secrets are hidden, and so is whatever looks like one in another place. Exit code: 0, or 2 if anything is wrong.
    """
    from voicepilot.config.listing import listed  # noqa: PLC0415 - --help must not wait for it
    from voicepilot.config.settings import read  # noqa: PLC0415

    loaded = read(config_file=config)
    settings = [setting for setting in listed(loaded) if not changed or setting.source != "default"]
    hide = _hiding(loaded)
    print(_show_json(settings, hide) if as_json else _show_text(settings, hide))
    return 0


@config_app.command(short_help="Whether the settings can be used, and everything that is wrong.")
def check(config: _File = None, as_json: AsJson = False) -> int:
    """Check the settings without talking to anybody, and tell everything that is wrong at once.

    Exit code: 0 if they can be used, 2 if not. `voicepilot doctor` also looks at credential, network and provider.
    """
    problems, remedy = _problems(config)
    if as_json:
        print(_json({"ok": not problems, "problems": problems, "remedy": remedy}))
    elif problems:
        print("\n".join([*problems, remedy]))
    else:
        print("The settings can be used.")
    return USAGE if problems else 0


@config_app.command(short_help="Everything that can be set, as a page of Markdown.")
def reference(
    output: Annotated[str | None, typer.Option(metavar="FILE", help="Write there.", show_default="stdout")] = None,
) -> int:
    """Write docs/configuration.md: every setting with its default, unit and bounds, and when a change counts."""
    from voicepilot.config.listing import reference as page  # noqa: PLC0415 - --help must not wait for it

    if output is None:
        print(page(), end="")
        return 0
    try:
        Path(output).write_text(page(), encoding="utf-8")
    except OSError as error:
        problem = f"{output} cannot be written: {error.strerror or type(error).__name__}"
    else:
        return 0
    raise ConfigurationError(problem, field="output", remediation="Choose another --output.")


def _problems(config: str | None) -> tuple[list[str], str]:
    from voicepilot.build import check_settings  # noqa: PLC0415 - --help must not wait for it
    from voicepilot.config.settings import read  # noqa: PLC0415

    problems, remedies = [], []
    try:
        settings = read(config_file=config).settings
    except ConfigurationError as error:
        lines = str(error).splitlines()
        return [line.strip() for line in lines[1:] or lines], error.remediation
    for judge in (lambda: check_settings(settings), settings.emulator_options):
        try:
            judge()
        except VoicePilotError as error:
            problems.append(error.message)
            remedies.append(error.remediation)
    return problems, " ".join(dict.fromkeys(remedies))


def _hiding(loaded: Loaded) -> Callable[[object], Any]:
    """What takes secrets out of anything, also out of a field that is not meant for one."""
    from voicepilot.telemetry.redact import Redactor  # noqa: PLC0415 - --help must not wait for it

    settings = loaded.settings
    keys = [settings.provider.api_key, *(settings.emulator.api_keys or ())]
    return Redactor(key.get_secret_value() for key in keys if key is not None).value


def _show_text(settings: list[Setting], hide: Callable[[object], Any]) -> str:
    rows = [(f"{setting.section}.{setting.name}", _text(hide(setting.value)), setting.source) for setting in settings]
    wide = max((len(name) for name, _, _ in rows), default=0)
    middle = min(40, max((len(value) for _, value, _ in rows), default=0))
    return "\n".join(f"{name:<{wide}}  {value:<{middle}}  {source}" for name, value, source in rows)


def _show_json(settings: list[Setting], hide: Callable[[object], Any]) -> str:
    tree: dict[str, dict[str, object]] = {}
    for setting in settings:
        tree.setdefault(setting.section, {})[setting.name] = {"value": hide(setting.value), "source": setting.source}
    return _json(tree)


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    import msgspec  # noqa: PLC0415 - --help must not wait for it

    return msgspec.json.encode(value).decode()
