"""Addresses of servers: what may be shown of one, whom it reaches, and credentials as a header takes them."""

from __future__ import annotations

import base64
from ipaddress import ip_address


def without_password(url: str) -> str:
    """The URL without user and password, for people and records."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address leads to this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def basic_authorization(pair: str) -> str:
    """The header's value for "user:password" (RFC 7617)."""
    return "Basic " + base64.b64encode(pair.encode()).decode()
