"""rlmness in its subprocess runtime: the default one needs a download of Pyodide.

Its sub-calls are agents with a namespace of their own; each submits in its first reply here.
"""

from _driver import Base


class System(Base):
    def prepare(self, model, cell_seconds):
        from rlmness import ChatClient, Config, solve
        from rlmness.providers import Provider

        provider = Provider("loopback", f"{self.base_url}/chat/completions", "UNUSED_KEY")
        client = ChatClient("x", provider=provider)
        config = Config(
            primary_agent=model,
            max_steps=50,
            max_calls=20_000,
            runtime="subprocess",
            **({} if cell_seconds is None else {"timeout": cell_seconds}),
        )

        def run(query, context):
            return solve(context, client, instruction=query, config=config).output

        return run
