"""C2PA manifests: a signed statement inside a file that a trained model made it.

The manifest says `c2pa.created` with IPTC's source type of trained models, and names model, version, run and
seed. It is signed with the user's certificate, or with one made on this machine for development, which says of
itself that nobody should trust it. Nothing is fetched or asked over the network unless a timestamp authority is
named.

This module travels in the packaged model: c2pa and cryptography are imported where they are used.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import ConfigError, MissingToolError
from .encode import png_bytes
from .provenance import SYNTHETIC

log = logging.getLogger(__name__)

CERTIFICATE_VARIABLE = "VGAN_C2PA_CERTIFICATE"
KEY_VARIABLE = "VGAN_C2PA_KEY"
TIMESTAMP_VARIABLE = "VGAN_C2PA_TIMESTAMP"
MIME = {".mp4": "video/mp4", ".mov": "video/quicktime", ".gif": "image/gif", ".png": "image/png"}
GENERATION = "org.vgan.generation"  # label of the assertion that names model, version, run and seed
DEVELOPMENT = "vgan development certificate, not trusted"  # the certificate's own words for itself
OFFLINE: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
YEARS = 10
_ROOT = "vgan development root, not trusted"
_ALGORITHMS = {
    **{"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"},
    **{"_Ed25519PrivateKey": "ed25519", "Ed25519PrivateKey": "ed25519"},
    **{"_RSAPrivateKey": "ps256", "RSAPrivateKey": "ps256"},
}
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)
_KEY_MARK = b"-----BEGIN PRIVATE KEY-----"
_HINT = f"Set {CERTIFICATE_VARIABLE} and {KEY_VARIABLE} to PEM files, or neither for a development certificate."


@dataclass(frozen=True)
class Signer:
    """A certificate with its key."""

    certificates: bytes  # PEM: the signing certificate first, then those that vouch for it
    key: bytes = field(repr=False)  # PEM, PKCS #8, not encrypted
    algorithm: str  # C2PA's name of the signature, such as "es256"
    timestamp_url: str | None = None  # of a timestamp authority (RFC 3161), which is asked for every file

    def sign(self, content: bytes, suffix: str, generation: Mapping[str, str]) -> bytes:
        """`content` with a manifest in it; no two signatures of one file have equal bytes.

        Args:
            content: a whole file.
            suffix: its kind, a key of MIME.
            generation: what the assertion says of its making: model, version, run, seed.

        Raises:
            ConfigError: the certificate cannot sign C2PA manifests, or the timestamp authority did not answer.
        """
        c2pa: Any = importlib.import_module("c2pa")
        told, signed = _manifest(MIME[suffix], generation), io.BytesIO()
        url = self.timestamp_url.encode() if self.timestamp_url else None
        try:
            information = c2pa.C2paSignerInfo(self.algorithm.encode(), self.certificates, self.key, url)
            with (
                c2pa.Context.from_dict(OFFLINE) as context,
                c2pa.Signer.from_info(information) as signer,
                c2pa.Builder(told, context) as builder,
            ):
                builder.sign(signer, MIME[suffix], io.BytesIO(content), signed)
        except c2pa.C2paError as error:
            raise ConfigError(f"the file could not be signed: {error}.", hint=_HINT) from error
        return signed.getvalue()


def _manifest(mime: str, generation: Mapping[str, str]) -> dict[str, Any]:
    """The manifest's definition, C2PA specification 2.x, "Actions"."""
    software = {"name": "vgan", "version": __version__}
    created = {"action": "c2pa.created", "digitalSourceType": SYNTHETIC, "softwareAgent": software}
    return {
        "claim_generator_info": [software],
        "title": f"{generation.get('model', 'vgan')}, seed {generation.get('seed', '?')}",
        "format": mime,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": GENERATION, "data": dict(generation)},
        ],
    }


def find_signer(certificate: str | None = None, key: str | None = None) -> Signer | None:
    """Who signs: the certificate named here, else in the environment, else this machine's development one.

    Args:
        certificate: PEM file, the signing certificate first; None takes VGAN_C2PA_CERTIFICATE.
        key: PEM file of its private key, not encrypted; None takes VGAN_C2PA_KEY.

    Returns:
        None where c2pa-python is not installed and no certificate is named: files are then not signed.

    Raises:
        MissingToolError: a certificate is named and c2pa-python is not installed.
        ConfigError: only one of the two is named, or they do not belong together or cannot sign.
    """
    chosen = certificate or os.environ.get(CERTIFICATE_VARIABLE), key or os.environ.get(KEY_VARIABLE)
    if any(importlib.util.find_spec(needed) is None for needed in ("c2pa", "cryptography")):
        if not any(chosen):
            return None
        raise MissingToolError("a certificate is named but nothing to sign with.", hint="pip install c2pa-python")
    if not any(chosen):
        return development_signer()
    if not chosen[0] or not chosen[1]:
        raise ConfigError("a certificate and its key are needed, and only one is named.", hint=_HINT)
    return _checked(_read(chosen[0]), _read(chosen[1]))


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error


def _checked(certificates: bytes, key: bytes) -> Signer:
    """A signer that has proven that it can sign, so that nothing is generated in vain."""
    signer = Signer(certificates, key, _algorithm(certificates, key))
    signer.sign(png_bytes(np.zeros((8, 8, 3), np.uint8)), ".png", {})
    return replace(signer, timestamp_url=os.environ.get(TIMESTAMP_VARIABLE) or None)


def _algorithm(certificates: bytes, key: bytes) -> str:
    """C2PA's name of the signature that a key makes; the key must be that of the first certificate."""
    x509: Any = importlib.import_module("cryptography.x509")
    serialization: Any = importlib.import_module("cryptography.hazmat.primitives.serialization")
    public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        private = serialization.load_pem_private_key(key, password=None)
        certificate = x509.load_pem_x509_certificate(certificates)
        matches = private.public_key().public_bytes(*public) == certificate.public_key().public_bytes(*public)
    except (ValueError, TypeError) as error:  # TypeError: the key is encrypted
        raise ConfigError("the certificate or its key is not plain PEM.", hint=_HINT) from error
    if not matches:
        raise ConfigError("the key is not that of the certificate.", hint=_HINT)
    kind = getattr(getattr(private, "curve", None), "name", type(private).__name__)
    if kind not in _ALGORITHMS:
        raise ConfigError(f"a key of kind {kind} cannot sign C2PA manifests.", hint="Use ECDSA, Ed25519 or RSA.")
    return _ALGORITHMS[kind]


def development_file() -> Path:
    """Where this machine's development certificate and key are kept, readable by this user only."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(config).expanduser() / "vgan" / "c2pa-development.pem"


def development_signer() -> Signer:
    """Sign with this user's development certificate, made at its first use.

    Where it cannot be kept, as in a container without a home, one is made for this process alone.
    """
    path = development_file()
    try:
        made = path.read_bytes() if path.is_file() else _keep(path, _make_development())
    except OSError as error:
        log.warning("%s cannot be kept (%s): its certificate is this process's alone.", path, error.strerror)
        made = _make_development()
    certificates, mark, key = made.partition(_KEY_MARK)
    try:
        return _checked(certificates, mark + key)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint="Remove it; a new one is made.") from error


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


def _make_development() -> bytes:
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
