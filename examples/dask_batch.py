"""Many documents over many workers with Dask: progress, retries, and the results as a dataset.

A run waits for models most of its time, so one machine answers many with `rlm.abatch`. Dask is for
more than that: many machines, one queue, retries elsewhere when a machine goes. Start it with the
dependency group `batch` (70 MB): `pip install distributed`.

Every document is a thread with checkpoints in one place, so a retry goes on where the run stood.
"""

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from dask.distributed import Client, LocalCluster, as_completed
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_replm import RLM, ExtractiveChatModel


def answer(document: dict[str, Any], query: str, database: str) -> dict[str, Any]:
    """One run, on whichever worker; a retry goes on with what an earlier attempt has paid for."""
    config: Any = {"configurable": {"thread_id": document["id"]}}
    connection = sqlite3.connect(database, check_same_thread=False, timeout=60)
    try:
        rlm = RLM(
            ExtractiveChatModel(),
            sub_model=ExtractiveChatModel(),
            checkpointer=SqliteSaver(connection),  # PostgreSQL, when workers are many machines
        )
        started = rlm.graph.get_state(config).values
        given: Any = None if started else {"query": query, "context": document["text"]}
        response = rlm.invoke(given, config)
    finally:
        connection.close()
    return {
        "id": document["id"],
        "answer": response.answer,
        "stop_reason": response.stop_reason,
        "sub_calls": response.sub_calls,
        "tokens": response.total_input_tokens + response.total_output_tokens,
    }


def main() -> None:
    """Six documents over two workers."""
    documents = [{"id": f"doc-{n}", "text": "the heron stands still\n" * (n + 1)} for n in range(6)]
    query = "How many times does the word heron occur?"
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        database = str(Path(folder) / "runs.db")
        futures = client.map(answer, documents, query=query, database=database, retries=2)
        rows = []
        for done, future in enumerate(as_completed(futures), start=1):
            rows.append(future.result())
            print(f"{done} of {len(documents)}: {rows[-1]['id']}")
    for row in sorted(rows, key=lambda row: str(row["id"])):
        print(row["id"], row["stop_reason"], row["answer"].splitlines()[0])


if __name__ == "__main__":
    main()
