"""recursive-flow with its LocalRuntime: in this process, without a cell limit."""

from _driver import Base


class System(Base):
    def prepare(self, model, cell_seconds):
        from rflow import Flow, OpenAIClient

        if cell_seconds is not None:
            raise NotImplementedError("no limit for a cell")
        client = OpenAIClient(model=model, base_url=self.base_url, api_key="x")

        def run(query, context):
            return Flow(client, max_iters=50).run(query, {"context": context})

        return run
