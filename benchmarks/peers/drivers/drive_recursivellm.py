"""recursive-llm: a worker under RestrictedPython; the async form, as its sync one wraps it."""

import asyncio

from _driver import Base


class System(Base):
    def prepare(self, model, cell_seconds):
        arun = self._prepare(model, cell_seconds)
        runner = asyncio.Runner()
        return lambda query, context: runner.run(arun(query, context))

    def run_many(self, model, queries, context):
        arun = self._prepare(model, None)

        async def gather():
            runs = [arun(query, context) for query in queries]
            return await asyncio.gather(*runs, return_exceptions=True)

        return [str(answer) for answer in asyncio.run(gather())]

    def _prepare(self, model, cell_seconds):
        from rlm import RLM

        async def arun(query, context):
            rlm = RLM(
                f"openai/{model}",
                api_base=self.base_url,
                api_key="x",
                max_iterations=50,
                repl_timeout=120 if cell_seconds is None else cell_seconds,
            )
            return await rlm.acomplete(query, context)

        return arun
