"""Every setting with its value and where that is from, and the reference page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from voicepilot.config.changes import is_secret, shown
from voicepilot.config.layers import ENV_DELIMITER, ENV_PREFIX
from voicepilot.config.sections import SECTIONS
from voicepilot.config.settings import Loaded


class Setting(msgspec.Struct, frozen=True):
    """A setting as people may see it."""

    section: str
    name: str
    value: Any  # plain data; a secret is `<hidden>` where there is one
    source: str  # "default", or what gave it, such as an environment variable or a file


def listed(loaded: Loaded) -> Iterator[Setting]:
    """Every setting in force."""
    for section, model in SECTIONS.items():
        values = getattr(loaded.settings, section)
        for name in model.model_fields:
            layer = next((layer for layer in loaded.layers if layer.holds((section, name))), None)
            source = layer.origin((section, name)) if layer else "default"
            yield Setting(section, name, shown(getattr(values, name)), source)


ABOUT = {
    "provider": "Who gives us keys; [keys.md](keys.md) tells more.",
    "sessions": "How sessions behave where `start_session` does not say otherwise, and how many there may be.",
    "conversation": "How the conversations of `manager.connect` keep themselves alive, where it is not told otherwise.",
    "recovery": "How operations that fail are tried again, and when an endpoint is left in peace; see "
    "[recovery.md](recovery.md), which also has the defaults of `retry_…` for each fault domain.",
    "privacy": "How long data may stay, and what is taken out of texts before they are stored.",
    "telemetry": "What is logged, and which labels metrics carry.",
    "emulator": "How `voicepilot emulate` behaves where its options do not say otherwise.",
}

HEAD = """\
# Configuration

<!-- Written by `voicepilot config reference`; a test fails when it is stale. -->

Defaults < a TOML file < environment < arguments. The file is `voicepilot.toml` in the working directory, or what
`VOICEPILOT_CONFIG`, `config_file=` or `--config` names. A setting `field` of `[section]` is
`VOICEPILOT_SECTION__FIELD` in the environment (lists with commas; redaction rules as JSON) and `field=` or
`section={"field": …}` as an argument of `SessionManager.from_settings`, `ConfigurationManager` and `Settings.load`.
An empty variable and an argument of None count as not given. The names people already have, such as
`OPENAI_API_KEY`, count where no variable of ours is set; see [keys.md](keys.md#settings).

```toml
[sessions]
max_concurrent_sessions = 10
inactivity_timeout_minutes = 15

[privacy]
final_transcript_seconds = 0

[[privacy.redaction_rules]]
label = "order-number"
pattern = "ORD-[0-9]{6}"
```

Whatever is wrong is told at once: the field, where its value came from, the problem and what would be right. A value
that may be secret is never shown. Of an API key in a file other people may read it; the environment or a keyring is
the better place.

| command | |
|---|---|
| `voicepilot config show` | every setting with its source, secrets hidden; `--changed` without the defaults |
| `voicepilot config check` | exit code 0, or 2 and everything that is wrong |
| `voicepilot config reference` | this page; `--output FILE` |

`show` and `check` take `--json` and `--config FILE`.

## Changing settings while sessions run

<!-- a part of a program, which needs a file to follow -->
```python no-run
manager = SessionManager.from_settings(config_file="voicepilot.toml", watch_file=True)
```

With `watch_file` (extra `reload`) a changed file is read again; `ConfigurationManager.reload()` does it by hand, and
`replace(settings)` is for hosts with a source of their own. It is all or nothing: if anything is wrong, nothing
changes, and an error is logged (raised, by hand). A file that is gone or empty changes nothing either.
`on_changed(handler)` tells of each section that changed, with old and new values and the fields that need a restart;
these are logged as a warning, too. A handler that raises is logged; the others hear of the change, and it stays.

The last column says when a change counts. New defaults of sessions reach live sessions at once, except the fields
that were given another value for that session, by `start_session` or `update_session_config`. A lower
`max_concurrent_sessions` ends no session; it refuses new ones.
"""


def reference() -> str:
    """The page docs/configuration.md."""
    return "\n".join([HEAD, *_tables()])


def _tables() -> Iterator[str]:
    for section, model in SECTIONS.items():
        yield f"## {section}\n\n{ABOUT[section]}\n"
        yield f"In the environment `{ENV_PREFIX}{section.upper()}{ENV_DELIMITER}…`.\n"
        yield "| setting | default | | a change counts |\n|---|---|---|---|"
        for name, field in model.model_fields.items():
            described = (field.description or "").replace("|", "\\|") + (" (secret)" if is_secret(field) else "")
            yield f"| `{name}` | {_default(field.default)} | {described} | {model.applies_when(name)} |"
        yield ""


def _default(value: object) -> str:
    plain = shown(value)
    if plain is None or plain == []:
        return ""
    return f"`{plain}`" if isinstance(plain, str) else msgspec.json.encode(plain).decode()
