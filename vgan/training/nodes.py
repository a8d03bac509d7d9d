"""Training on several machines: their supervisors find each other, start their ranks together, and end together.

The first machine's supervisor listens at `TrainConfig.rendezvous`; those of the others connect and stay so. What
they say are lines of JSON: who is there; which run, ranks and port; how it ended. A connection that closes is a
machine that is lost, so nobody waits for a rank that has gone. Nothing here needs torch.
"""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..config import TrainConfig
from ..errors import ConfigError, ResumableError, VganError
from .ranks import Others, check_share

log = logging.getLogger(__name__)

NODE = "VGAN_NODE_RANK"  # which of the machines this is: 0 leads and writes
GATHER_SECONDS = 600.0  # for which machines wait for each other
HELLO_SECONDS = 10.0
LAST_WORDS_SECONDS = 3.0
RETRY_SECONDS = 0.5
LINE_BYTES = 1 << 16
SAID_LINES, SAID_CHARACTERS = 8, 500  # of what a machine's training said last, as others hear it


def node_rank(config: TrainConfig) -> int:
    """Which of the run's machines this is; 0 where there is only one.

    Raises:
        ConfigError: VGAN_NODE_RANK is none of them, or not set.
    """
    if config.nodes == 1:
        return 0
    text = os.environ.get(NODE, "")
    if not text.isdecimal() or int(text) >= config.nodes:
        raise ConfigError(
            f"{NODE} is {text[:20]!r}, and this is one of {config.nodes} machines.",
            hint=f"Set it to a number of its own on each, from 0 (which leads) to {config.nodes - 1}.",
        )
    return int(text)


def address_of(rendezvous: str) -> tuple[str, int]:
    """Host and port of HOST:PORT."""
    host, _, port = rendezvous.rpartition(":")
    return host.strip("[]"), int(port)


class Link:
    """A connection to another machine's supervisor."""

    def __init__(self, connection: socket.socket, node: int) -> None:
        self.node = node
        self.open = True
        self._connection = connection
        self._heard = b""
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):  # a machine without power closes nothing
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def tell(self, **words: Any) -> None:
        """Send a line; one that has gone is noticed when it is listened to."""
        try:
            self._connection.sendall(json.dumps(words).encode() + b"\n")
        except OSError:
            self.close()

    def hear(self, seconds: float = 0.0) -> dict[str, Any] | None:
        """The next line, if one comes in so many seconds; closes itself when no more will come."""
        end = time.monotonic() + seconds
        while True:
            line, found, rest = self._heard.partition(b"\n")
            if found:
                self._heard = rest
                return self._parsed(line)
            left = end - time.monotonic()
            if not self.open or not select.select([self._connection], [], [], max(left, 0.0))[0]:
                return None
            self._read()

    def _read(self) -> None:
        try:
            piece = self._connection.recv(LINE_BYTES)
        except OSError:
            piece = b""
        self._heard += piece
        if not piece or len(self._heard) > LINE_BYTES:
            self.close()

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            words = json.loads(line)
        except ValueError:
            words = None
        if not isinstance(words, dict):
            self.close()
            return None
        return words  # pyright: ignore[reportUnknownVariableType]

    def close(self) -> None:
        """End the connection."""
        self.open = False
        self._connection.close()


class Company(Others):
    """The other machines of a run that has begun, as one of them sees them."""

    def __init__(self, run: str, links: Sequence[Link], first: int, number: int, meeting: Mapping[str, str]) -> None:
        self.run = run
        self.first = first
        self.number = number
        self.code = None
        self.said: list[str] = []  # last lines of the training elsewhere that failed
        self._links = links
        self._meeting = meeting
        self._left: set[int] = set()  # machines that have said how it ended

    @property
    def meeting(self) -> Mapping[str, str]:
        """See Others."""
        return self._meeting

    def failed(self) -> bool:
        """See Others."""
        for link in self._links:
            while (words := link.hear()) is not None:
                self._heed(link, words)
            if not link.open and link.node not in self._left:
                self._left.add(link.node)
                if self.code is None:
                    self.code = ResumableError.exit_code
                    self.said = [f"error: machine {link.node} is lost.", "hint: The same command resumes."]
        return self.code is not None

    def _heed(self, link: Link, words: dict[str, Any]) -> None:
        code, said = words.get("code"), words.get("said")
        if isinstance(said, list):  # its last words
            self._left.add(link.node)
        if isinstance(code, int) and code and (self.code is None or said):
            self.code = code
            self.said = [str(line) for line in said] if isinstance(said, list) else self.said  # pyright: ignore

    def tell(self, code: int) -> None:
        """See Others."""
        for link in self._links:
            link.tell(code=code)

    def leave(self, code: int | None, said: Sequence[str]) -> None:
        """Say how it ended here; after a failure, listen for a moment to what made it end elsewhere."""
        code = ResumableError.exit_code if code is None else code
        for link in self._links:
            link.tell(code=code, said=[line[:SAID_CHARACTERS] for line in said[-SAID_LINES:]])
        if code:
            self._listen(LAST_WORDS_SECONDS)

    def wait(self) -> None:
        """Until all others have said how it ended, or are lost."""
        self._listen(float("inf"))

    def _listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while len(self._left) < len(self._links) and time.monotonic() < end:
            self.failed()
            time.sleep(0.05)

    def close(self) -> None:
        """End all connections."""
        for link in self._links:
            link.close()


def gather(config: TrainConfig, run: str, batch: int, processes: int) -> Company:
    """Meet the other machines, as the one that leads, and tell each its ranks.

    Args:
        config: of the run, with its number of machines and where they meet.
        run: key of the run.
        batch: clips of one step.
        processes: that train on this machine.

    Raises:
        ConfigError: this machine has no such address, or the batch does not divide among all processes.
        ResumableError: not all machines have come.
    """
    if config.nodes == 1:
        return Company(run, [], 0, 0, {})
    host, port = address_of(config.rendezvous or "")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(
            f"cannot listen at {config.rendezvous}: {error.strerror or error}.",
            hint="--rendezvous is an address of the machine with VGAN_NODE_RANK=0, and a port that is free there.",
        ) from error
    with listener:
        links = _meet(config, listener)
    processes_of = [processes, *(number for _, number in links)]
    try:
        check_share(batch, sum(processes_of))
    except ConfigError as error:
        _refuse([link for link, _ in links], error)
        raise
    meeting = {"MASTER_ADDR": host, "MASTER_PORT": str(_free_port(host))}
    size = sum(processes_of)
    for place, (link, _) in enumerate(links, 1):
        link.tell(run=run, first=sum(processes_of[:place]), size=size, meeting=meeting)
    log.info("%d machines train with %d processes", config.nodes, size)
    return Company(run, [link for link, _ in links], 0, size - processes, meeting)


def _meet(config: TrainConfig, listener: socket.socket) -> list[tuple[Link, int]]:
    """A link to each machine and its number of processes, in the order of the machines."""
    met: dict[int, tuple[Link, int]] = {}
    end = time.monotonic() + GATHER_SECONDS
    log.info("waiting at %s for %d more machines", config.rendezvous, config.nodes - 1)
    while len(met) < config.nodes - 1:
        if time.monotonic() > end:
            absent = ", ".join(str(node) for node in range(1, config.nodes) if node not in met)
            for link, _ in met.values():
                link.close()
            raise ResumableError(
                f"not all machines have come to {config.rendezvous}: {absent} did not.",
                hint=f"Start the same command there, with {NODE} set.",
            )
        if select.select([listener], [], [], RETRY_SECONDS)[0]:
            _greet(config, listener.accept()[0], met)
        for node, (link, _) in list(met.items()):
            if link.hear() is not None or not link.open:  # it has nothing to say yet
                link.close()
                del met[node]
    return [met[node] for node in sorted(met)]


def _greet(config: TrainConfig, connection: socket.socket, met: dict[int, tuple[Link, int]]) -> None:
    link = Link(connection, -1)
    words = link.hear(HELLO_SECONDS) or {}
    node, nodes, processes = (words.get(name) for name in ("node", "nodes", "processes"))
    if not isinstance(node, int) or not isinstance(processes, int) or not isinstance(nodes, int) or processes < 1:
        link.close()  # somebody else's
    elif nodes != config.nodes or not 0 < node < nodes:
        _refuse([link], ConfigError(f"machine {node} of {nodes} came to a run of {config.nodes} machines."))
    else:
        link.node = node
        if node in met:
            met[node][0].close()  # started again
        met[node] = (link, processes)


def _refuse(links: Sequence[Link], error: VganError) -> None:
    for link in links:
        link.tell(refused=error.message, hint=error.hint)
        link.close()


def join(config: TrainConfig, node: int, processes: int) -> Company:
    """Meet the machine that leads, and be told the run and this machine's ranks; arguments as for `gather`.

    Raises:
        ConfigError: it refuses this machine.
        ResumableError: it is not there.
    """
    end = time.monotonic() + GATHER_SECONDS
    log.info("waiting for the machine that leads, at %s", config.rendezvous)
    while time.monotonic() < end:
        try:
            connection = socket.create_connection(address_of(config.rendezvous or ""), HELLO_SECONDS)
        except OSError:
            time.sleep(RETRY_SECONDS)
            continue
        link = Link(connection, 0)
        link.tell(node=node, nodes=config.nodes, processes=processes)
        words = link.hear(end - time.monotonic())
        if words is None:  # it has ended while it waited for others, and may be started again
            link.close()
            time.sleep(RETRY_SECONDS)
        elif "refused" in words:
            link.close()
            raise ConfigError(str(words["refused"]), hint=str(words.get("hint", "")))
        else:
            return Company(words["run"], [link], words["first"], words["size"] - processes, words["meeting"])
    raise ResumableError(
        f"no machine leads at {config.rendezvous}.", hint=f"Start the same command with {NODE}=0 on the one that does."
    )


def _free_port(host: str) -> int:
    """A port of this machine that nobody listens at, for the ranks."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        return int(listener.getsockname()[1])
