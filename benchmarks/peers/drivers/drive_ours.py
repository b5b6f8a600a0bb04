"""This package, with its defaults: jailed worker, the sync call."""

from _driver import Base


class System(Base):
    def prepare(self, model, cell_seconds):
        from langchain_openai import ChatOpenAI

        from langchain_replm import RLM, RLMConfig

        config = {"max_iterations": 50, "max_sub_calls": 20_000}
        if cell_seconds is not None:
            config["sandbox_timeout"] = cell_seconds
        root, sub = (ChatOpenAI(base_url=self.base_url, api_key="x", model=model) for _ in range(2))
        rlm = RLM(root, sub_model=sub, config=RLMConfig(**config))
        return lambda query, context: rlm.invoke({"query": query, "context": context}).answer
