"""The way to a host: which proxy it goes through, and whose certificates are trusted on it."""

from __future__ import annotations

import ipaddress
import ssl
import urllib.request

from yarl import URL

_PLAIN = {"wss": "https", "ws": "http"}  # a WebSocket goes where HTTP goes


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_for(url: str) -> str | None:
    """The proxy that HTTPS_PROXY and NO_PROXY name for `url`; loopback never has one."""
    target = URL(url)
    host = target.host or ""
    if is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(_PLAIN.get(target.scheme, target.scheme))


def trusted() -> ssl.SSLContext:
    """A context that checks certificates. It is made when asked for, so that SSL_CERT_FILE is read when it matters."""
    return ssl.create_default_context()
