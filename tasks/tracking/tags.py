"""Names of the tags that vgan sets in MLflow."""

from __future__ import annotations

RUN_TAG = "vgan.run"
WEIGHTS_TAG = "vgan.weights_sha256"
PACKAGE_TAG = "vgan.package_sha256"
EVALUATION_TAG = "vgan.evaluation_digest"
VERDICT_TAG = "vgan.verdict"
UPLOADED_TAG = "vgan.uploaded"  # "<sha256 of the weights> <sha256 of the package> <uri of the logged model>"
