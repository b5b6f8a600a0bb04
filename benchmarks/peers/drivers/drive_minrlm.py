"""minrlm without Docker: in this process, without a cell limit.

A new object for each run: the second batch of an object fails with "Event loop is closed".
"""

from _driver import Base


class System(Base):
    def prepare(self, model, cell_seconds):
        from minrlm import RLM

        if cell_seconds is not None:
            raise NotImplementedError("no limit for a cell without Docker")

        def run(query, context):
            rlm = RLM(
                model=model,
                base_url=self.base_url,
                api_key="x",
                max_iterations=50,
                max_sub_llm_calls=20_000,
            )
            return rlm.completion(query, context).response

        return run
