"""What is known of addresses of servers: passwords stay hidden, and loopback is told from the rest."""

import pytest

from vgan.addresses import basic_authorization, is_loopback, without_password


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("localhost", True), ("mlflow.localhost", True),
        ("10.0.0.7", False), ("0.0.0.0", False), ("mlflow.example.org", False), ("localhost.example.org", False),
        ("", False),
    ],
)  # fmt: skip
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@server:5000/a@b?c", "http://server:5000/a@b?c"),
        ("postgresql://vgan:se@cret@127.0.0.1/vgan", "postgresql://127.0.0.1/vgan"),
        ("http://server:5000", "http://server:5000"),
        ("sqlite:////w/mlflow.db", "sqlite:////w/mlflow.db"),
        ("", ""),
    ],
)
def test_a_shown_address_has_no_password(url: str, shown: str) -> None:
    """FAULTS 45: also of a password with an @ in it."""
    assert without_password(url) == shown


def test_credentials_are_given_as_a_header_takes_them() -> None:
    """RFC 7617, section 2: its own example."""
    assert basic_authorization("Aladdin:open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
