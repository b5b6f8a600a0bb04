"""dspy.RLM with its LocalInterpreter: its default one needs Deno."""

from _driver import Base


class System(Base):
    def prepare(self, model, cell_seconds):
        import dspy
        from dspy.primitives.local_interpreter import LocalInterpreter

        lm = dspy.LM(f"openai/{model}", api_base=self.base_url, api_key="x", cache=False)
        rlm = dspy.RLM(
            "context, query -> answer",
            max_iters=50,
            max_llm_calls=20_000,
            interpreter_factory=lambda: LocalInterpreter(execution_timeout=cell_seconds),
        )

        def run(query, context):
            with dspy.context(lm=lm):
                return rlm(context=context, query=query).answer

        return run
