"""Reading C2PA manifests: whether the signature holds, whose it is, and what was signed. Nothing is fetched."""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .certificates import DEVELOPMENT
from .provenance import says_trained
from .signing import GENERATION, MIME, OFFLINE

State = Literal[
    "none", "trusted", "development", "untrusted", "tampered", "invalid", "unreadable", "unsupported", "unchecked"
]
SAID: dict[State, str] = {
    "none": "there is none",
    "trusted": "valid, by a trusted certificate",
    "development": "valid, by a development certificate of vgan, which proves nothing about who signed",
    "untrusted": "valid, by a certificate that nobody here trusts",
    "tampered": "not valid: the file or the manifest was altered after signing",
    "invalid": "not valid, for what is said below",
    "unreadable": "there is one, and it cannot be read",
    "unsupported": "this kind of file cannot carry one",
    "unchecked": "not looked for: c2pa-python is not installed",
}
KINDS = {"mp4": ".mp4", "gif": ".gif", "png": ".png"}


@dataclass(frozen=True)
class Manifest:
    """The C2PA manifest of a file, or that it has none."""

    state: State
    signed_by: str = ""  # common name and organisation of the certificate, as it names itself
    generator: str = ""  # program that made the manifest
    synthetic: bool = False  # it says that a trained model made the file, whole or in part
    generation: dict[str, str] | None = None  # model, version, run and seed, where vgan made it
    problems: tuple[str, ...] = ()  # codes of the C2PA specification, "Validation", and what they mean


def read_manifest(path: Path, kind: str, trusted: bytes | None = None) -> Manifest:
    """The manifest of a file of `kind` "mp4" (or mov), "gif" or "png"; of another kind none.

    Args:
        path: of a local file.
        kind: as `verify.kind_of` finds it.
        trusted: PEM certificates whose signatures count as trusted, beside those that c2pa-python knows.
    """
    if kind not in KINDS:
        return Manifest("unsupported")
    if importlib.util.find_spec("c2pa") is None:
        return Manifest("unchecked")
    c2pa: Any = importlib.import_module("c2pa")
    settings = OFFLINE | ({"trust": {"user_anchors": trusted.decode()}} if trusted else {})
    try:
        with (
            path.open("rb") as file,
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(MIME[KINDS[kind]], file, context=context) as reader,
        ):
            return _read(json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return Manifest("none")
    except c2pa.C2paError as error:
        return Manifest("unreadable", problems=(str(error),))
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # JSON of another shape than ours
        return Manifest("unreadable", problems=(repr(error),))


def _read(store: dict[str, Any]) -> Manifest:
    manifests: dict[str, dict[str, Any]] = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest", ""), {})
    signature: dict[str, Any] = active.get("signature_info") or {}
    names = [str(signature[key]) for key in ("common_name", "issuer") if signature.get(key)]
    found: list[dict[str, Any]] = store.get("validation_status") or []
    told = next((data for label, data in _assertions(active) if label == GENERATION), None)
    altered = any(str(item.get("code")).endswith(".mismatch") for item in found)
    bad: State = "tampered" if altered else "invalid"
    good: State = "development" if DEVELOPMENT in names else "untrusted"
    states: dict[str, State] = {"Trusted": "trusted", "Valid": good}
    return Manifest(
        state=states.get(str(store.get("validation_state")), bad),
        signed_by=", ".join(dict.fromkeys(names)),
        generator=" ".join(str(part) for part in _generator(active)),
        synthetic=any(_says_synthetic(manifest) for manifest in manifests.values()),
        generation=None if told is None else {str(key): str(value) for key, value in told.items()},
        problems=tuple(f"{item.get('code')}: {item.get('explanation', '')}" for item in found),
    )


def _assertions(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for assertion in manifest.get("assertions", []):
        if isinstance(assertion.get("data"), dict):
            yield assertion.get("label", ""), assertion["data"]


def _generator(manifest: dict[str, Any]) -> Iterator[str]:
    told: list[dict[str, str]] = manifest.get("claim_generator_info") or []
    for info in told:
        yield info.get("name", "")
        yield info.get("version", "")


def _says_synthetic(manifest: dict[str, Any]) -> bool:
    told = [data.get("actions", []) for label, data in _assertions(manifest) if label.startswith("c2pa.actions")]
    sources = [str(action.get("digitalSourceType", "")) for actions in told for action in actions]
    return any(says_trained("digitalSourceType", source) for source in sources)
