"""Probe the peers in environments of their own, make the tables: `python -m benchmarks.compare`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
from pathlib import Path

from benchmarks._environments import environment
from benchmarks.compare.facts import PROBED, Peer, known_peers, load, pinned
from benchmarks.compare.probes import DIALECTS, probe
from benchmarks.compare.tables import write


def interpreter(peer: Peer) -> Path:
    """The interpreter of a peer; its environment is made when it is not there."""
    if peer.packages == ["."]:
        return Path(sys.executable)
    return environment(peer.key, pinned(peer))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("peers", nargs="*", help=f"only these: {', '.join(DIALECTS)}")
    parser.add_argument("--tables", action="store_true", help="probe nothing, write the tables")
    options = parser.parse_args()
    if not options.tables:
        peers = {peer.key: peer for peer in known_peers()}
        for key in options.peers or DIALECTS:
            look(peers[key])
    write(load())


def look(peer: Peer) -> None:
    """Probe one peer and keep what was seen."""
    python = interpreter(peer)
    print(f"==> probing {peer.key} {peer.version}", file=sys.stderr)
    found = probe(python, peer.key)
    for name, fact in found.items():
        print(f"    {name:20} {fact['is']:4} {fact['seen'][:80]}", file=sys.stderr)
    seen = json.loads(PROBED.read_text(encoding="utf-8")) if PROBED.exists() else {}
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    seen[peer.key] = {"version": peer.version, "date": today, "found": found}
    PROBED.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
