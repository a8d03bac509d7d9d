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
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import ConfigError, MissingToolError
from .certificates import development_certificate, development_file
from .encode import png_bytes
from .provenance import SYNTHETIC

CERTIFICATE_VARIABLE = "VGAN_C2PA_CERTIFICATE"
KEY_VARIABLE = "VGAN_C2PA_KEY"
TIMESTAMP_VARIABLE = "VGAN_C2PA_TIMESTAMP"
MIME = {".mp4": "video/mp4", ".mov": "video/quicktime", ".gif": "image/gif", ".png": "image/png"}
GENERATION = "org.vgan.generation"  # label of the assertion that names model, version, run and seed
OFFLINE: dict[str, Any] = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_SIGNING = OFFLINE | {"builder": {"thumbnail": {"enabled": False}}}  # a thumbnail would take 20 times as long
_ALGORITHMS = {
    **{"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"},
    **{"Ed25519PrivateKey": "ed25519", "RSAPrivateKey": "ps256"},
}
_HINT = (
    f"Name two PEM files by --certificate and --key, or by {CERTIFICATE_VARIABLE} and {KEY_VARIABLE}; "
    "or neither, for a development certificate."
)


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
                c2pa.Context.from_dict(_SIGNING) as context,
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
        return _development()
    if not chosen[0] or not chosen[1]:
        raise ConfigError("a certificate and its key are needed, and only one is named.", hint=_HINT)
    return _checked(_read(chosen[0]), _read(chosen[1]))


def _read(path: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", hint=_HINT) from error


def _development() -> Signer:
    try:
        return _checked(*development_certificate())
    except ConfigError as error:
        raise ConfigError(f"{development_file()}: {error.message}", hint="Remove it; a new one is made.") from error


def _checked(certificates: bytes, key: bytes) -> Signer:
    """A signer that has proven that it can sign, so that nothing is generated in vain."""
    signer = Signer(certificates, *_plain_key(certificates, key))
    signer.sign(png_bytes(np.zeros((8, 8, 3), np.uint8)), ".png", {})
    return replace(signer, timestamp_url=os.environ.get(TIMESTAMP_VARIABLE) or None)


def _plain_key(certificates: bytes, key: bytes) -> tuple[bytes, str]:
    """The key as PKCS #8, and C2PA's name of its signature; it must be that of the first certificate."""
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
    kind: str = getattr(getattr(private, "curve", None), "name", type(private).__name__)
    if kind not in _ALGORITHMS:
        raise ConfigError(f"a key of kind {kind} cannot sign C2PA manifests.", hint="Use ECDSA, Ed25519 or RSA.")
    plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return private.private_bytes(*plain), _ALGORITHMS[kind]
