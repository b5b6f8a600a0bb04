"""The rooms behind `RLMChatModel`: conversation in, run or direct call, message out."""
