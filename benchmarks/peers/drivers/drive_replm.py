"""replm: its async form, because the sync one has no batch; default sandbox, in this process."""

from _driver import AsyncBase


class System(AsyncBase):
    def arun(self, model, cell_seconds):
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
