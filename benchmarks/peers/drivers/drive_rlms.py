"""rlms, the paper's own package: default environment, in this process; it has no cell limit."""

from _driver import Base


class System(Base):
    def prepare(self, model, cell_seconds):
        from rlm import RLM

        if cell_seconds is not None:
            raise NotImplementedError("no limit for a cell")

        def run(query, context):
            rlm = RLM(
                backend="openai",
                backend_kwargs={"model_name": model, "base_url": self.base_url, "api_key": "x"},
                max_iterations=50,
            )
            return rlm.completion(context, root_prompt=query).response

        return run
