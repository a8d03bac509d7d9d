"""deploy/compose.yaml as Docker Compose would read it, and its services as plain processes of this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from processes import BIN, ROOT, clean_env

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
DOCKERFILE = DEPLOY / "Dockerfile"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")


def filled(value: Any, variables: dict[str, str]) -> Any:
    """The value with its ${variables}; KeyError for one that must be set and is not."""
    if isinstance(value, dict):
        return {key: filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [filled(one, variables) for one in value]

    def put(found: re.Match[str]) -> str:
        if set_to := variables.get(found["name"]):
            return set_to
        if found["kind"] == "-":
            return found["rest"]
        raise KeyError(found["name"])

    return VARIABLE.sub(put, value) if isinstance(value, str) else value


def compose(variables: dict[str, str]) -> dict[str, Any]:
    return filled(yaml.safe_load(COMPOSE.read_text()), variables)


def needed() -> set[str]:
    """The variables without which nothing may start."""
    return {found["name"] for found in VARIABLE.finditer(COMPOSE.read_text()) if found["kind"] == "?"}


def of_the_image() -> dict[str, str]:
    """What the image sets for every process, but for the place of its programs."""
    block = re.search(r"^ENV PATH=((?:(?:.*\\| +#.*)\n)*.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert block is not None
    return dict(re.findall(r"^\s+(\w+)=([^\s\\]+)", block[1], re.MULTILINE))


@dataclass(frozen=True)
class Plain:
    """The services outside containers: names, ports and folders of theirs become this machine's."""

    variables: dict[str, str]
    instead: dict[str, str]  # pattern of a name, port or folder -> what it is here
    home: Path

    def here(self, text: str) -> str:
        """The text with what stands instead."""
        patterns = "|".join(f"({pattern})" for pattern in self.instead)
        return re.sub(patterns, lambda found: [*self.instead.values()][(found.lastindex or 1) - 1], text)

    def service(self, name: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment of a service."""
        made = compose(self.variables)["services"][name]
        command = [self.here(word) for word in made["command"]]
        if (BIN / command[0]).exists():
            command[0] = str(BIN / command[0])
        env = {key: self.here(value) for key, value in (of_the_image() | made["environment"]).items()}
        own = {"HOME": str(self.home), "PREFECT_HOME": str(self.home / "prefect"), "OMP_NUM_THREADS": "1"}
        return command, clean_env(**own, **env)
