"""Retrieval without a limit on what is retrieved: the documents become the context of the run."""

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from langchain_replm import RLMChatModel
from langchain_replm.testing import ScriptedChatModel


class Shelf(BaseRetriever):
    """A retriever; a vector store's `as_retriever()` takes its place."""

    def _get_relevant_documents(self, query: str, **_: object) -> list[Document]:
        """All of them, whatever is asked."""
        assert query
        return [
            Document(f"Report {n}. " + "The heron stands. " * n, metadata={"source": f"report-{n}"})
            for n in range(200)
        ]


cell = """```repl
counts = [text.count("heron") for text in context]
most = max(range(len(counts)), key=counts.__getitem__)
FINAL(f"{context_metadata[most]['source']} with {counts[most]} herons")
```"""
model = RLMChatModel(root_model=ScriptedChatModel(replies=[cell]))
retriever = Shelf()


def ask(question: str) -> str:
    """Hand all documents over; none of them is in the prompt."""
    return model.invoke(question, context=retriever.invoke(question)).text


chain = RunnableLambda(ask)
print(chain.invoke("Which report has the most herons?"))
