"""Whether a credential may be sent to an address: https (or loopback), and no host that only looks like Azure's."""

from __future__ import annotations

import re

from yarl import URL

from voicepilot.errors import ConfigurationError
from voicepilot.network.route import is_loopback

# Azure's public, US government and China clouds; a resource is one label below one of these.
AZURE_SUFFIXES = (
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
    ".openai.azure.us",
    ".cognitiveservices.azure.us",
    ".openai.azure.cn",
    ".cognitiveservices.azure.cn",
)
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]*")
_AZURE_MARKS = ("azure.com", "azure.us", "azure.cn")


def is_azure(host: str) -> bool:
    """Whether `host` is a resource in one of Azure's own domains."""
    name = host.lower().rstrip(".")
    return any(name.endswith(suffix) and _LABEL.fullmatch(name.removesuffix(suffix)) for suffix in AZURE_SUFFIXES)


def checked_base_url(address: str, *, field: str = "base_url") -> str:
    """`address` without trailing slashes, or a ConfigurationError that says why no credential may be sent there."""
    url = _parsed(address, field)
    host = _host(url, field)
    looks_azure = any(mark in host.rstrip(".") or mark in url.raw_path.lower() for mark in _AZURE_MARKS)
    if looks_azure and not is_azure(host):
        raise _refused(
            field,
            f"its host is {host}, which looks like an Azure OpenAI resource and is none",
            "Copy the endpoint from the resource's Keys and Endpoint page (https://NAME.openai.azure.com).",
        )
    return str(url).rstrip("/")


def checked_azure_endpoint(address: str, *, field: str = "azure_endpoint") -> str:
    """The root of an Azure resource, without any /openai/v1, or a ConfigurationError that says why it is refused."""
    url = _parsed(address, field)
    host = _host(url, field)
    if not is_azure(host) and not is_loopback(host):
        raise _refused(
            field,
            f"its host is {host}, which is not in an Azure OpenAI domain",
            "Use https://NAME.openai.azure.com from the resource's Keys and Endpoint page; "
            "for a gateway of your own set profile to azure and base_url to its full address ending in /openai/v1.",
        )
    if url.path.rstrip("/") not in {"", "/openai", "/openai/v1"}:
        raise _refused(field, "it has a path", f"Give only the resource's address: {url.origin()}.")
    return str(url.origin())


def _parsed(address: str, field: str) -> URL:
    # The judgement must be on the very address the HTTP client will connect to, so its own parser (yarl) is used.
    if any(ch.isspace() or not ch.isprintable() or ch == "\\" for ch in address):
        raise _refused(field, "it contains blanks, control characters or backslashes", "Write a plain https address.")
    try:
        url = URL(address)
        origin = url.origin() if url.host else None
    except ValueError:
        origin = None
    if origin is None:
        raise _refused(field, "it is not an address", "Write it as https://HOST/…")
    if not address.isascii():
        raise _refused(field, "it contains letters that are not ASCII", "Write the host in plain ASCII letters.")
    if url.raw_user is not None or url.raw_password is not None:
        raise _refused(field, "it contains a user name or password", "Remove everything before the @.")
    if url.raw_query_string or url.raw_fragment or address.endswith(("?", "#")):
        raise _refused(field, "it has a query or fragment", "Remove everything from the ? or #.")
    return url


def _host(url: URL, field: str) -> str:
    host = (url.raw_host or "").lower()
    if url.scheme == "https" or (url.scheme == "http" and is_loopback(host)):
        return host
    raise _refused(
        field,
        f"it uses {url.scheme}, so the credential would travel unencrypted to {host}",
        "Use https; plain http is for loopback (127.0.0.1, ::1, localhost) only.",
    )


def _refused(field: str, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(f"{field} cannot be used: {why}", field=field, remediation=remedy)
