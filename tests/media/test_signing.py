import logging
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from vgan.errors import ConfigError, MissingToolError
from vgan.media import certificates, signing
from vgan.media.certificates import DEVELOPMENT, development_certificate, development_file
from vgan.media.encode import mp4_bytes, png_bytes
from vgan.media.manifest import _read, read_manifest
from vgan.media.signing import Signer, find_signer

FRAMES = np.zeros((4, 32, 32, 3), np.uint8)
GENERATION = {"model": "shapes", "version": "3", "run": "shapes-1", "seed": "42"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user who has signed nothing yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def issue(folder, monkeypatch, name="A studio"):
    """Certificate, key and root as a user would have them: two PEM files, and the root's bytes."""
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "DEVELOPMENT", name)
        patched.setattr(certificates, "_ROOT", f"{name}, root")
        chain, mark, key = certificates._make().partition(certificates._KEY_MARK)
    (folder / f"{name}.pem").write_bytes(chain)
    (folder / f"{name}.key").write_bytes(mark + key)
    root = chain[chain.rindex(b"-----BEGIN CERTIFICATE-----") :]
    return folder / f"{name}.pem", folder / f"{name}.key", root


def signed_file(folder, signer, suffix=".png"):
    content = png_bytes(FRAMES[0]) if suffix == ".png" else mp4_bytes(FRAMES, 8)
    path = folder / f"signed{suffix}"
    path.write_bytes(signer.sign(content, suffix, GENERATION))
    return path


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "png"), (".mp4", "mp4")])
def test_without_a_certificate_files_are_signed_by_one_that_says_it_is_for_development(home, suffix, kind):
    manifest = read_manifest(signed_file(home, find_signer(), suffix), kind)
    assert manifest.state == "development" and manifest.synthetic
    assert manifest.signed_by == DEVELOPMENT and "not trusted" in DEVELOPMENT
    assert manifest.generation == GENERATION and manifest.generator.startswith("vgan ")


def test_the_development_certificate_is_made_once_and_only_its_user_reads_it(home):
    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(lambda _: development_certificate(), range(4)))
    (first,) = made
    assert development_certificate() == first
    assert stat.S_IMODE(development_file().stat().st_mode) == 0o600
    assert [path.name for path in development_file().parent.iterdir()] == ["c2pa-development.pem"]


def test_no_key_is_shown(home):
    signer = find_signer()
    assert "PRIVATE" not in repr(signer) and b"PRIVATE KEY" in signer.key


def test_where_no_certificate_can_be_kept_one_is_made_for_the_process(home, monkeypatch, caplog):
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "file"))
    with caplog.at_level(logging.WARNING):
        assert read_manifest(signed_file(home, find_signer()), "png").state == "development"
    assert "cannot be kept" in caplog.text


@pytest.mark.parametrize("door", ["arguments", "environment"])
def test_the_users_own_certificate_signs_and_is_trusted_by_those_who_trust_its_root(home, monkeypatch, door):
    certificate, key, root = issue(home, monkeypatch)
    if door == "environment":
        monkeypatch.setenv(signing.CERTIFICATE_VARIABLE, str(certificate))
        monkeypatch.setenv(signing.KEY_VARIABLE, str(key))
    signer = find_signer() if door == "environment" else find_signer(str(certificate), str(key))
    path = signed_file(home, signer)
    assert read_manifest(path, "png").state == "untrusted"
    trusted = read_manifest(path, "png", root)
    assert trusted.state == "trusted" and trusted.signed_by == "A studio"
    assert not development_file().exists()


@pytest.mark.parametrize("kind", ["P-384", "Ed25519", "RSA", "P-256, SEC 1"])
def test_every_usual_kind_of_key_signs(home, kind):
    root = ec.generate_private_key(ec.SECP256R1())
    key = {
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "P-256, SEC 1": lambda: ec.generate_private_key(ec.SECP256R1()),
    }[kind]()
    made = certificates._certificate("A studio", key, root, authority=False)
    (home / "one.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    written = "TraditionalOpenSSL" if "SEC 1" in kind else "PKCS8"
    pem = serialization.Encoding.PEM, getattr(serialization.PrivateFormat, written), serialization.NoEncryption()
    (home / "one.key").write_bytes(key.private_bytes(*pem))
    signer = find_signer(str(home / "one.pem"), str(home / "one.key"))
    assert read_manifest(signed_file(home, signer), "png").signed_by.startswith("A studio")


def test_what_cannot_sign_is_refused_before_anything_is_made(home, monkeypatch):
    certificate, key, root = issue(home, monkeypatch)
    other = issue(home, monkeypatch, "Another")[1]
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    (home / "locked.key").write_bytes(locked)
    (home / "root.pem").write_bytes(root)
    for bad, why in {
        (certificate, None): "only one",
        (certificate, home / "none"): "cannot be read",
        (certificate, other): "not that of the certificate",
        (certificate, home / "locked.key"): "not plain PEM",
        (key, key): "not plain PEM",
        (home / "root.pem", key): "not that of the certificate",
    }.items():
        with pytest.raises(ConfigError, match=why):
            find_signer(*(str(path) if path else None for path in bad))


def test_a_certificate_for_other_purposes_is_refused(home, monkeypatch):
    made = certificates._certificate
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "_certificate", lambda *given, authority: made(*given, authority=True))
        certificate, key, _ = issue(home, monkeypatch)
    with pytest.raises(ConfigError, match="could not be signed"):
        find_signer(str(certificate), str(key))


def test_a_damaged_development_certificate_is_named(home):
    development_certificate()
    development_file().write_text("no")
    with pytest.raises(ConfigError, match=r"c2pa-development\.pem"):
        find_signer()


def test_without_c2pa_files_are_not_signed_unless_a_certificate_is_named(home, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_signer() is None
    with pytest.raises(MissingToolError, match="nothing to sign with"):
        find_signer("certificate.pem", "key.pem")
    assert read_manifest(home / "any.png", "png").state == "unchecked"


@pytest.mark.parametrize("place", [-1000, 3])
def test_a_file_that_was_altered_after_signing_is_told(home, place):
    path = signed_file(home, find_signer(), ".mp4")
    content = bytearray(path.read_bytes())
    found = content.rindex(b"mdat") + 20 if place > 0 else place
    content[found] ^= 1
    path.write_bytes(content)
    manifest = read_manifest(path, "mp4")
    assert manifest.state == "tampered" and any("mismatch" in problem for problem in manifest.problems)


def test_a_certificate_that_had_expired_is_no_tampering():
    expired = {"code": "signingCredential.expired", "explanation": "signing certificate expired"}
    store = {"active_manifest": "a", "manifests": {"a": {}}, "validation_state": "Invalid"}
    manifest = _read({**store, "validation_status": [expired]})
    assert manifest.state == "invalid" and manifest.problems == (
        "signingCredential.expired: signing certificate expired",
    )
    altered = {"code": "assertion.dataHash.mismatch"}
    assert _read({**store, "validation_status": [expired, altered]}).state == "tampered"


def test_files_are_signed_in_threads(home):
    signer = find_signer()
    with ThreadPoolExecutor(4) as pool:
        signed = list(pool.map(lambda _: signer.sign(png_bytes(FRAMES[0]), ".png", GENERATION), range(12)))
    (home / "last.png").write_bytes(signed[-1])
    assert len(set(signed)) == 12 and read_manifest(home / "last.png", "png").state == "development"


def test_an_altered_manifest_is_told(home):
    path = signed_file(home, find_signer())
    path.write_bytes(path.read_bytes().replace(b"shapes-1", b"shapes-2"))
    assert read_manifest(path, "png").state in ("tampered", "unreadable")


def test_a_manifest_of_random_bytes_is_unreadable(home):
    path = home / "x.mp4"
    box = signing_box(np.random.default_rng(0).bytes(500))
    path.write_bytes(mp4_bytes(FRAMES, 8) + box)
    assert read_manifest(path, "mp4").state in ("unreadable", "none")


def signing_box(content):
    from vgan.media.provenance import C2PA_BOX

    whole = b"uuid" + C2PA_BOX + bytes(4) + b"manifest\0" + bytes(8) + content
    return (len(whole) + 4).to_bytes(4, "big") + whole


def test_no_manifest_elsewhere_is_fetched(home):
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *said):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signer, remote = find_signer(), home / "remote.png"
    info = c2pa.C2paSignerInfo(b"es256", signer.certificates, signer.key, None)
    url = f"http://127.0.0.1:{server.server_port}/manifest.c2pa"
    definition = signing._manifest("image/png", GENERATION)
    (home / "plain.png").write_bytes(png_bytes(FRAMES[0]))
    context = c2pa.Context.from_dict({"verify": {"verify_after_sign": False}})
    with c2pa.Builder(definition, context) as builder, c2pa.Signer.from_info(info) as to_sign:
        builder.set_no_embed()
        builder.set_remote_url(url)
        with (home / "plain.png").open("rb") as source, remote.open("w+b") as target:
            builder.sign(to_sign, "image/png", source, target)
    assert url.encode() in remote.read_bytes()
    assert read_manifest(remote, "png").state in ("none", "unreadable") and not asked
    server.shutdown()
    server.server_close()


def test_a_timestamp_authority_is_asked_only_when_one_is_named(home, monkeypatch):
    assert find_signer().timestamp_url is None
    monkeypatch.setenv(signing.TIMESTAMP_VARIABLE, "http://127.0.0.1:9/")
    signer = find_signer()
    with pytest.raises(ConfigError, match="could not be signed"):
        signer.sign(png_bytes(FRAMES[0]), ".png", GENERATION)
    assert isinstance(signer, Signer)
