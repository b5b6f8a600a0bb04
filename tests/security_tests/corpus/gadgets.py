"""Objects whose methods would run on the host, if it ever looked at them."""

from tests.security_tests.corpus import attacks

# In mode "none" the worker is the host, so the gadget goes off there.
FIRE = """\
import random
os = random._os
def fire(*_, **__):
    if os.getpid() == <<host>>: os.mkdir('<<folder>>/fired')
    return 'fired'
"""
ROWS = {
    "repr-of-a-variable": "class A:\n    def __repr__(self): return fire()\na = A()\na",
    "str-of-an-answer": "class A:\n    def __str__(self): return fire()\nFINAL(A())",
    "reduce": "class A:\n    def __reduce__(self): return fire, ()\nimport copy\na = A()\ntry: copy.copy(a)\nexcept TypeError: pass",
    "equality": "class A:\n    def __eq__(self, other): fire(); return True\n    __hash__ = None\na = A()\nfound = a in [context]",
    "hash-of-a-key": "class K(str):\n    def __hash__(self): fire(); return 1\nFINAL({K('k'): 1})",
    "format": "class A(str):\n    def __format__(self, spec): return fire()\nprint(f'{A()}')",
    "length": "class A:\n    __module__ = 'library'\n    def __len__(self): fire(); return 1\na = A()",
    "shape": "class A:\n    __module__ = 'library'\n    @property\n    def shape(self): return (fire(),)\na = A()",
    "iteration": "class A(list):\n    def __iter__(self): fire(); return iter(())\nFINAL(A([1]))",
    "items": "class A(dict):\n    def items(self): fire(); return ()\nFINAL(A(a=1))",
    "error-text": "class E(Exception):\n    def __str__(self): return fire()\nraise E",
    "error-notes": "e = ValueError()\nclass N(list):\n    def __iter__(self): fire(); return iter(())\nclass S(str):\n    def __str__(self): return fire()\ne.__notes__ = [S('x')]\nprint(S('x').__str__())\nraise e",
    "destructor": "class A:\n    def __del__(self): fire()\na = A()\ndel a",
    "class-of-a-prompt": "class P(str):\n    def encode(self, *_): return fire()\n    def __len__(self): fire(); return 1\nllm_query(P('x'))\nlen(P('x'))",
    "truth-of-ready": "class T:\n    def __bool__(self): fire(); return True\nanswer['content'], answer['ready'] = 'x', T()",
    "descriptor": "class D:\n    def __get__(self, *_): return fire()\nclass A:\n    tolist = D()\nFINAL(A())",
    "metaclass": "class M(type):\n    def __getattribute__(self, name): fire(); return type.__getattribute__(self, name)\nclass A(metaclass=M): pass\nA.__name__\na = A()",
    "pickle": "import pickle\nclass A:\n    def __reduce__(self): return os.mkdir, ('<<folder>>/fired',)\npickle.loads(pickle.dumps(A()))",
    "copy-registry": "import copyreg, copy\nclass A: pass\ncopyreg.pickle(A, lambda a: (fire, ()))\ncopy.deepcopy(A())",
    "shared-memory-of-text": "class S(str):\n    def __getitem__(self, key): fire(); return 'x'\ns = S('abc')\ns[0]\nprint(s)\nFINAL(s)",
}
STDLIB_RULE = {"pickle"}

ATTACKS = tuple(
    attack
    for name, code in ROWS.items()
    for attack in attacks("gadgets", "changed", {name: FIRE + code}, bare=name not in STDLIB_RULE)
)
