"""Asking a server that the user named: what it answers, with and without credentials, and what time it is there."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

from vgan.addresses import basic_authorization, is_loopback

SECONDS = 15.0
OWN_SECONDS = 1.0


@dataclass(frozen=True)
class Answer:
    """What a server answered; `status` is 0 when nobody did."""

    status: int
    body: bytes
    skew: float | None  # seconds by which the server's clock is ahead of this machine's; None when it does not say
    error: str = ""

    def json(self) -> Any:
        """The body; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def ask(url: str, *, authorization: str = "", body: Any = None, seconds: float = SECONDS) -> Answer:
    """One request, GET or with a body POST; whatever happens is an answer."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    headers = {"Content-Type": "application/json"}
    if authorization or at:
        headers["Authorization"] = authorization or basic_authorization(user)
    data = None if body is None else json.dumps(body).encode()
    before = time.time()
    try:
        request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)), data, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310  (the user's own setting)
            return Answer(answer.status, answer.read(), _skew(answer.headers.get("Date"), before))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read(), _skew(error.headers.get("Date"), before), str(error))
    except (OSError, ValueError) as error:
        return Answer(0, b"", None, str(getattr(error, "reason", error)))


def _skew(date: str | None, before: float) -> float | None:
    """The header has whole seconds and was written somewhere between question and answer."""
    try:
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - (before + time.time()) / 2
    except (TypeError, ValueError):
        return None


def reached_from_outside(url: str) -> str | None:
    """An address of this machine, not loopback, at which something takes connections on the URL's port."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if not is_loopback(parts.hostname or ""):
        return f"{parts.hostname}:{port}"
    for address in _own_addresses():
        try:
            with socket.create_connection((address, port), timeout=OWN_SECONDS):
                return f"{address}:{port}"
        except OSError:
            continue
    return None


def _own_addresses() -> list[str]:
    found = [each for addresses in psutil.net_if_addrs().values() for each in addresses]
    wanted = (socket.AF_INET, socket.AF_INET6)
    plain = [each.address for each in found if each.family in wanted and "%" not in each.address]
    return [address for address in plain if not ip_address(address).is_loopback]
