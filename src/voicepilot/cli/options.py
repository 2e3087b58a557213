"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Report as one line of JSON.")]

ConfigFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="Read this voicepilot.toml.", show_default="./voicepilot.toml")
]

Model = Annotated[str | None, typer.Option(help="The model; on Azure the deployment's name.")]
