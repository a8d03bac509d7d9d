"""This machine's certificate for development, made at its first use: it signs, and nobody should trust it.

This module travels in the packaged model: cryptography is imported where it is used.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

DEVELOPMENT = "vgan development certificate, not trusted"  # the certificate's own words for itself
YEARS = 10
_ROOT = "vgan development root, not trusted"
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
_KEY_MARK = b"-----BEGIN PRIVATE KEY-----"


def development_file() -> Path:
    """Where this machine's development certificate and key are kept, readable by this user only."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "vgan" / "c2pa-development.pem"


def development_certificate() -> tuple[bytes, bytes]:
    """Certificates and key of this user, PEM, made at their first use.

    Where they cannot be kept, as in a container without a home, they are made for this process alone.
    """
    path = development_file()
    try:
        made = path.read_bytes() if path.is_file() else _keep(path, _make())
    except OSError as error:
        log.warning("%s cannot be kept (%s): its certificate is this process's alone.", path, error.strerror)
        made = _make()
    certificates, mark, key = made.partition(_KEY_MARK)
    return certificates, mark + key


def _keep(path: Path, made: bytes) -> bytes:
    """Write a secret whole or not at all; returns what is there, which is another process's if that was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(made)
    try:
        os.link(temporary, path)  # unlike a rename this never replaces what is there
    except FileExistsError:
        return path.read_bytes()
    finally:
        temporary.unlink()
    return made


def _make() -> bytes:
    """A certificate of ten years, the root that vouches for it, and its key; the root's own key is thrown away.

    C2PA refuses certificates that sign themselves, and asks for these key usages (specification 2.x,
    "Certificate profile").
    """
    ec: Any = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ec")
    serialization: Any = importlib.import_module("cryptography.hazmat.primitives.serialization")
    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    made = [_certificate(DEVELOPMENT, key, root, authority=False), _certificate(_ROOT, root, root, authority=True)]
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return b"".join(certificate.public_bytes(pem) for certificate in made) + secret


def _certificate(name: str, key: Any, issuer: Any, *, authority: bool) -> Any:
    x509: Any = importlib.import_module("cryptography.x509")
    hashes: Any = importlib.import_module("cryptography.hazmat.primitives.hashes")
    oid: Any = importlib.import_module("cryptography.x509.oid")
    start = datetime.now(UTC) - timedelta(days=1)

    def named(text: str) -> Any:
        parts = (oid.NameOID.ORGANIZATION_NAME, DEVELOPMENT), (oid.NameOID.COMMON_NAME, text)
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])

    usage = dict.fromkeys(_USAGES, False) | {"key_cert_sign" if authority else "digital_signature": True}
    builder = (
        x509.CertificateBuilder(named(_ROOT), named(name), key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
        .add_extension(x509.KeyUsage(**usage), critical=True)
    )
    if not authority:
        purposes = x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purposes, critical=False)
    return builder.sign(issuer, hashes.SHA256())
