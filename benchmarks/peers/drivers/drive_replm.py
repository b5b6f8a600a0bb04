"""replm: its async form, because the sync one has no batch; default sandbox, in this process."""

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
        from openai import AsyncOpenAI
        from replm import RLMConfig, RLMWrapper

        config = RLMConfig(max_iterations=50, max_sub_calls=20_000)
        if cell_seconds is not None:
            config.sandbox_timeout = cell_seconds
        client = AsyncOpenAI(base_url=self.base_url, api_key="x")
        rlm = RLMWrapper(client, root_model=model, config=config)

        async def arun(query, context):
            return (await rlm.agenerate(query, context)).answer

        return arun
