"""Along the references between objects: classes, frames, tracebacks, closures, generators."""

from tests.security_tests.corpus import attacks

ROWS = {
    "subclasses": "for c in ().__class__.__base__.__subclasses__():\n    if c.__name__ == '_wrap_close':\n        print(c.__init__.__globals__['popen']('cat <<file>>').read())",
    "subclasses-loader": "for c in object.__subclasses__():\n    if c.__name__ == 'FileLoader' or 'get_data' in vars(c):\n        print(c.get_data(c, '<<file>>'))",
    "reduce-globals": "print(().__reduce_ex__(2)[0].__globals__['__builtins__']['open']('<<file>>').read())",
    "function-globals": "print(llm_query.__globals__['sys'].modules['io'].open('<<file>>').read())",
    "function-builtins": "print(llm_query.__builtins__['open']('<<file>>').read())",
    "closure": "for cell in FINAL.__closure__:\n    repl = cell.cell_contents\n    print(repl.execute.__func__.__globals__['builtins'].open('<<file>>').read())",
    "traceback": "try: 1 / 0\nexcept ZeroDivisionError as e:\n    f = e.__traceback__.tb_frame\n    while f:\n        b = f.f_builtins\n        f = f.f_back\n    print(b['open']('<<file>>').read())",
    "generator": "g = (x for x in [1])\ndef run():\n    f = g.gi_frame.f_back\n    while f:\n        b = f.f_builtins\n        f = f.f_back\n    print(b['open']('<<file>>').read())\ng = (run() for _ in [1])\nlist(g)",
    "coroutine": "async def c():\n    f = me.cr_frame\n    while f:\n        b = f.f_builtins\n        f = f.f_back\n    print(b['open']('<<file>>').read())\nme = c()\ntry: me.send(None)\nexcept StopIteration: pass",
    "async-generator": "async def g():\n    f = me.ag_frame\n    while f:\n        b = f.f_builtins\n        f = f.f_back\n    print(b['open']('<<file>>').read())\n    yield 1\nme = g()\ntry: me.asend(None).send(None)\nexcept StopIteration: pass",
    "module-of-a-class": "import collections\nprint(collections.namedtuple.__globals__['_sys'].modules['io'].open('<<file>>').read())",
    "attribute-error": "try: llm_query.nothing\nexcept AttributeError as e: print(e.obj.__globals__['sys'].modules['io'].open('<<file>>').read())",
    "pattern": "match len:\n    case object(__self__=b): print(b.open('<<file>>').read())",
    "weak-reference": "import weakref, random\nprint(weakref.ref(random.Random)().__init__.__globals__['_os'].popen('cat <<file>>').read())",
    "context-manager": "import contextlib\nprint(contextlib.contextmanager.__globals__['os'].popen('cat <<file>>').read())",
    "method-of-a-module": "import json\nprint(json.decoder.scanner.re.enum.sys.modules['io'].open('<<file>>').read())",
    "property": "import enum\nprint(enum.property.__get__.__globals__['sys'].modules['io'].open('<<file>>').read())",
    "code-object": "def f(): pass\nf.__code__ = (lambda: len.__self__.open('<<file>>').read()).__code__\nprint(f())",
    "function-type": "F = type(lambda: 0)\nprint(F((lambda: open('<<file>>').read()).__code__, {'__builtins__': vars(len.__self__)})())",
    "collector": "import weakref\ngc = len.__self__.__import__('gc')\nfor f in gc.get_objects():\n    if getattr(f, '__name__', '') == 'popen' and hasattr(f, '__globals__'): print(f('cat <<file>>').read())",
}

ATTACKS = attacks("object graph", "told", ROWS, bare=True)
