"""The levels of a trace that neither LangChain nor LangGraph knows: iterations and cells."""
