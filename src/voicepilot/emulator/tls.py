"""TLS for clients that insist on `wss:` (the Node class of `openai` does, realtime-wire.md E3)."""

from __future__ import annotations

import ssl

import msgspec

from voicepilot.emulator.options import Options
from voicepilot.errors import ConfigurationError


class Tls(msgspec.Struct, frozen=True):
    """The server's side, and the certificate authority a client must trust where we made it (PEM)."""

    context: ssl.SSLContext
    authority: bytes | None = None


def tls_of(options: Options) -> Tls | None:
    """What the options ask for; None for plain http."""
    if options.certificate is not None and options.private_key is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(options.certificate, options.private_key)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(f"cannot use the certificate: {error}", field="certificate") from error
        return Tls(context)
    return _self_made(options.host) if options.tls else None


def _self_made(host: str) -> Tls:
    try:
        import trustme  # noqa: PLC0415 - an extra, needed for this alone
    except ImportError as error:
        raise ConfigurationError(
            "tls needs a certificate: there is none and trustme, which would make one, is not installed",
            field="tls",
            remediation="Install voicepilot-sessions[tls], or give certificate and private_key.",
        ) from error
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1", "::1", host).configure_cert(context)
    return Tls(context, authority.cert_pem.bytes())
