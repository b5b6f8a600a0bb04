"""Probe the peers in environments of their own, make the tables: `python -m benchmarks.compare`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
from pathlib import Path

from benchmarks._environments import environment
from benchmarks.compare.facts import PROBED, Peer, known_peers, load
from benchmarks.compare.probes import DIALECTS, probe
from benchmarks.compare.tables import write

INSTALLED = Path(__file__).with_name("installed.py")


def interpreter(peer: Peer) -> Path:
    """The interpreter of a peer; its environment is made when it is not there."""
    if not peer.pin:
        return Path(sys.executable)
    return environment(peer.key, peer.install)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("peers", nargs="*", help="only these")
    parser.add_argument("--tables", action="store_true", help="probe nothing, write the tables")
    options = parser.parse_args()
    if not options.tables:
        peers = {peer.key: peer for peer in known_peers()}
        for key in options.peers or peers:
            look(peers[key])
    write(load())


def look(peer: Peer) -> None:
    """Look at what is installed, run what can be run, and keep what was seen."""
    python = interpreter(peer)
    print(f"==> probing {peer.key}", file=sys.stderr)
    told = subprocess.run(
        [python, INSTALLED, peer.main, peer.package], check=True, capture_output=True, text=True
    )
    data = json.loads(told.stdout.strip().splitlines()[-1])
    data["found"] |= probe(python, peer.key) if peer.key in DIALECTS else {}
    data["licence"] = data["licence"].partition("\n")[0].removesuffix(" License")
    data["date"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    for name, fact in data["found"].items():
        print(f"    {name:20} {fact['is']:4} {fact['seen'][:80]}", file=sys.stderr)
    seen = json.loads(PROBED.read_text(encoding="utf-8")) if PROBED.exists() else {}
    seen[peer.key] = data
    PROBED.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
