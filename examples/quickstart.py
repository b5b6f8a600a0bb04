"""One question over a long text, with a model that needs no key.

Replace `ExtractiveChatModel()` by any LangChain chat model, for example
`ChatOpenAI(model="gpt-5.2")`.
"""

from langchain_replm import RLM, ExtractiveChatModel, RLMConfig

text = "\n".join(f"def function_{n}(size={n}):\n    return size" for n in range(20_000))
rlm = RLM(ExtractiveChatModel(), config=RLMConfig(max_iterations=10))
response = rlm.generate("How many functions are defined?", text)

print(response.answer)
print(
    f"{response.stop_reason} after {response.iterations} iterations over {len(text):,} characters"
)
