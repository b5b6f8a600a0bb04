"""predict-rlm with its DirectPythonBackend, in a plain child: its default one needs Deno."""

from _driver import AsyncBase


class System(AsyncBase):
    def arun(self, model, cell_seconds):
        import dspy
        from predict_rlm import PredictRLM
        from predict_rlm.backends.supervisor.runner import DirectPythonBackend

        lm = dspy.LM(f"openai/{model}", api_base=self.base_url, api_key="x", cache=False)

        async def arun(query, context):
            rlm = PredictRLM(
                "context, query -> answer",
                lm=lm,
                sub_lm=lm,
                max_iterations=50,
                max_llm_calls=20_000,
                verbose=False,
                interpreter=DirectPythonBackend(exec_timeout=cell_seconds or 120.0),
            )
            return (await rlm.acall(context=context, query=query)).answer

        return arun
