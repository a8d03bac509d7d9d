"""`vgan verify-media`: what a file says of its making."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli import console
from flows.cli.guard import JsonOption, guarded
from vgan.errors import ConfigError, GateFailedError

if TYPE_CHECKING:
    from vgan.media.verify import Verified

UNMARKED = GateFailedError.exit_code  # looked at, and did not pass

app = typer.Typer()


@app.command("verify-media")
@guarded
def verify_media(
    file: Annotated[Path, typer.Argument(help="An mp4, mov, webm, mkv, gif, png or npy file.", show_default=False)],
    trust: Annotated[
        Path | None, typer.Option("--trust", help="PEM file of certificates whose C2PA signatures to trust.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a file is marked as synthetic, and by which marks."""
    from vgan.media import verify

    found = verify.verify_media(file, _certificates(trust) if trust else None)
    if as_json:
        console.print_json(_told(file, found))
    else:
        for line in _lines(found):
            console.out.print(console.printable(line), soft_wrap=True, markup=False, highlight=False)
    if not found.synthetic:
        raise typer.Exit(UNMARKED)


def _certificates(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", hint="Name a PEM file.") from error
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ConfigError(f"{path} holds no PEM certificate.", hint="`openssl x509` turns other kinds into PEM.")
    return content


def _told(file: Path, found: Verified) -> dict[str, Any]:
    mark = {**dataclasses.asdict(found.watermark), "found": found.watermark.found}
    return {"file": str(file), "synthetic": found.synthetic, **dataclasses.asdict(found), "watermark": mark}


def _lines(found: Verified) -> list[str]:
    """The findings in plain words, one a line."""
    from vgan.media.manifest import SAID

    manifest, mark = found.manifest, found.watermark
    said = "; ".join(f"{key.removeprefix('vgan_').replace('_', ' ')} {value}" for key, value in found.tags.items())
    others = f"none of vgan; of others: {', '.join(found.marks) or 'none'}"
    lines = [
        f"synthetic: {'yes, it says so' if found.synthetic else 'nothing in it says so, which proves nothing'}",
        f"metadata: {said or others}",
        f"C2PA manifest: {SAID[manifest.state]}",
    ]
    if manifest.signed_by:
        lines.append(f"  signed by: {manifest.signed_by}; written by {manifest.generator or 'an unnamed program'}")
        lines.append(f"  it says that a trained model made it: {'yes' if manifest.synthetic else 'no'}")
    if manifest.generation:
        lines.append("  " + "; ".join(f"{key} {value}" for key, value in manifest.generation.items()))
    if manifest.state in ("tampered", "invalid", "unreadable"):
        lines += [f"  {problem}" for problem in manifest.problems]
    verdict = "found" if mark.found else "not found"
    seen = f"score {mark.score:.1f}, found from {mark.threshold:g}; frames looked at: {mark.frames}"
    return [*lines, f"watermark: {verdict} ({seen})"]
