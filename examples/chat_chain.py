"""A chain that exists already, with the chat model replaced.

The root model here is scripted, so that no key is needed; use `ChatOpenAI(model="gpt-5.2")` or any
other chat model in its place.
"""

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_replm import RLMChatModel
from langchain_replm.testing import ScriptedChatModel

prompt = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer in one word."),
        ("human", "{question}\n\n{text}"),
    ]
)
root = ScriptedChatModel(
    replies=["```repl\nimport re\nFINAL(max(re.findall('[a-z]+', context), key=len))\n```"]
)
model = RLMChatModel(root_model=root)

chain = prompt | model | StrOutputParser()

text = "the heron stands motionless in the reeds. " * 20_000
print(chain.invoke({"question": "which word is longest?", "text": text}))
