"""Values that are not what they say they are, on their way to our side."""

from tests.security_tests.corpus import attacks

CRASH = {
    "surrogate-summary": "s = '\\ud800' * 100",
    "huge-number": "FINAL(10**5000)",
    "huge-number-variable": "n = 10**5000\nm = [n]\nn",
    "not-a-number": "FINAL(float('nan'))",
    "infinite": "FINAL([float('inf')])",
    "deep-answer": "a = []\nfor _ in range(100_000): a = [a]\nFINAL(a)",
    "keys-of-any-kind": "FINAL({(1, 2): 3, None: 4})",
    "bytes": "FINAL(b'\\xff\\xfe')",
    "class-that-lies": "class A:\n    __class__ = str\nFINAL(A())",
    "text-that-lies": "class A(str):\n    def __str__(self): return 7\n    def __len__(self): return -1\n    def __getitem__(self, k): return 7\n    def encode(self, *_): return 7\nFINAL(A('x'))",
    "batch-that-lies": "class A(list):\n    def __len__(self): return 10**9\n    def __iter__(self): yield 7\nllm_query_batch(A())",
    "mapping-that-lies": "class A(dict):\n    def items(self): raise KeyboardInterrupt\n    def __len__(self): return 2**40\nFINAL(A(a=1))",
    "number-that-lies": "class A(int):\n    def __repr__(self): return 'x' * 10**6\n    def bit_length(self): return 'x'\nFINAL(A(7))",
    "float-that-lies": "class A(float):\n    def __repr__(self): return 7\nFINAL(A(7))",
    "name-that-is-no-name": "globals()['a b\\n\\x00'] = 1\nglobals()['x' * 10**6] = 1",
    "name-that-is-no-text": "globals()[7] = 1\nglobals()[None] = 2",
    "prompt-that-lies": "class P(str):\n    def __class__(self): return int\n    def __len__(self): return 'x'\nllm_query(P('x'))",
    "model-that-lies": "class M(str): pass\nllm_query('x', model=M('m'))",
    "exit-of-another-kind": "class E(BaseException): pass\nraise E",
    "exit": "raise SystemExit(SystemExit)",
    "generator-exit": "raise GeneratorExit",
    "group": "raise BaseExceptionGroup('g', [KeyboardInterrupt(), SystemExit()])",
    "error-chain-in-a-ring": "a, b = ValueError(1), ValueError(2)\na.__cause__, b.__cause__ = b, a\nraise a",
    "error-without-a-class": "class E(Exception):\n    __class__ = 7\n    @property\n    def args(self): raise self\nraise E",
}
SURROGATES = {
    "surrogate-answer": "FINAL('\\ud800 \\udfff')",
    "surrogate-output": "print('\\ud83d', '\\udc00' * 10)",
    "surrogate-error": "raise ValueError('\\ud800')",
    "surrogate-name": "globals()['\\ud800'] = 1",
    "surrogate-in-a-list": "FINAL(['\\udcff'])",
}
GROWTH = {
    "contains-itself": "a = []\na.append(a)\nprint(a)\nFINAL(a)",
    "shared-list": "a = 'x'\nfor _ in range(10): a = [a] * 10\nFINAL(a)",
    "shared-list-shown": "a = 'x'\nfor _ in range(12): a = [a] * 10\na",
    "shared-dict": "a = 'x'\nfor _ in range(10): a = {str(i): a for i in range(10)}\nFINAL(a)",
    "huge-answer": "FINAL('x' * 300_000_000)",
    "huge-argument": "llm_query('x' * 300_000_000)",
}

ATTACKS = (
    *attacks("type confusion", "crashed", CRASH, control=None, bare=True),
    *attacks("type confusion", "unsendable", SURROGATES, control="gullible", bare=True),
    *attacks("type confusion", "grew", GROWTH, control=None, bare=True, heavy=True),
)
