"""recursive-llm: a worker under RestrictedPython; the async form, as its sync one wraps it."""

from _driver import AsyncBase


class System(AsyncBase):
    def arun(self, model, cell_seconds):
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
