"""A report of a run as one HTML page, and a file that is written while runs go on.

Replace the scripted model by any LangChain chat model, for example `ChatOpenAI(model="gpt-5.2")`.
"""

import tempfile
from pathlib import Path

from langchain_replm import RLM, TrajectoryFile, read_trajectories
from langchain_replm.testing import ScriptedChatModel

root = ScriptedChatModel(replies=["```repl\nFINAL(context.count('heron'))\n```"])
with tempfile.TemporaryDirectory() as folder:
    runs, page = Path(folder) / "runs.jsonl", Path(folder) / "run.html"
    rlm = RLM(root, trajectory_file=TrajectoryFile(runs))
    rlm.generate("How many herons?", "heron, stork, heron").to_html(page)

    [run] = read_trajectories(runs)
    print(run.finished, run.response.query, run.response.answer)
    print(page.name, "has", "a title" if "<title>" in page.read_text() else "no title")
