"""Ordinary cells, in the shapes that root models write: code, and what it prints, in every mode."""

from __future__ import annotations

import sys

ORDINARY = {
    "counters": (
        "from collections import Counter\nprint(Counter('abca').most_common(1))",
        "[('a', 2)]\n",
    ),
    "counts-inplace": (
        "c = {}\nfor w in 'a b a'.split():\n    c[w] = c.get(w, 0)\n    c[w] += 1\nc",
        "{'a': 2, 'b': 1}\n",
    ),
    "regex-callback": (
        "import re\nre.sub(r'\\d', lambda m: str(int(m[0]) + 1), 'a1b2')",
        "'a2b3'\n",
    ),
    "dataclass": (
        "from dataclasses import dataclass, field, asdict\n@dataclass\nclass P:\n    x: int\n    y: list = field(default_factory=list)\nprint(asdict(P(1)), P(2))",
        "{'x': 1, 'y': []} P(x=2, y=[])\n",
    ),
    "dataclass-annotations": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n@dataclass\nclass P:\n    k: ClassVar[int] = 3\n    x: int = 0\nP()",
        "P(x=0)\n",
    ),
    "generator": ("def g():\n    for i in range(3):\n        yield i\nlist(g())", "[0, 1, 2]\n"),
    "csv": (
        "import csv, io\nlist(csv.DictReader(io.StringIO('a,b\\n1,2\\n')))",
        "[{'a': '1', 'b': '2'}]\n",
    ),
    "strptime": (
        "from datetime import datetime\ndatetime.strptime('2024-02-03', '%Y-%m-%d').date().isoformat()",
        "'2024-02-03'\n",
    ),
    "time-strptime": ("import time\ntime.strptime('2024', '%Y').tm_year", "2024\n"),
    "decimal": ("from decimal import Decimal\nDecimal('0.1') + Decimal('0.2')", "Decimal('0.3')\n"),
    "fractions": ("from fractions import Fraction\nFraction(1, 3) + 1", "Fraction(4, 3)\n"),
    "defaultdict": (
        "from collections import defaultdict\nd = defaultdict(list)\nd['a'].append(1)\ndict(d)",
        "{'a': [1]}\n",
    ),
    "fstring": ("n = 1234.5\nprint(f'{n:,.2f} {n!r:>8} {n=}')", "1,234.50   1234.5 n=1234.5\n"),
    "class": (
        "class A:\n    def __init__(self): self.n = 0\n    def inc(self):\n        self.n += 1\n        return self\nclass B(A):\n    def inc(self):\n        return super().inc()\nB().inc().n",
        "1\n",
    ),
    "decorator": (
        "import functools\n@functools.lru_cache\ndef fib(n): return n if n < 2 else fib(n-1) + fib(n-2)\nfib(60)",
        "1548008755920\n",
    ),
    "zlib": ("import zlib\nzlib.decompress(zlib.compress(b'abc'))", "b'abc'\n"),
    "namedtuple-enum": (
        "from collections import namedtuple\nfrom enum import Enum\nclass C(Enum):\n    A = 1\nP = namedtuple('P', 'x y')\nprint(P(1, 2), C.A)",
        "P(x=1, y=2) C.A\n",
    ),
    "statistics": ("import statistics\nstatistics.median([1, 2, 9])", "2\n"),
    "walrus-match": (
        "match [1, 2]:\n    case [a, b] if (s := a + b) > 2:\n        print(s)",
        "3\n",
    ),
    "with-suppress": (
        "from contextlib import suppress\nwith suppress(KeyError):\n    {}['a']\nprint('on')",
        "on\n",
    ),
    "global-nonlocal": ("n = 0\ndef f():\n    global n\n    n += 1\nf()\nn", "1\n"),
    "comprehension-scope": ("k = 2\n[k * i for i in range(3)]", "[0, 2, 4]\n"),
    "recursive": ("def depth(n): return 0 if n == 0 else 1 + depth(n - 1)\ndepth(500)", "500\n"),
    "threading": (
        "import threading\nr = []\nt = threading.Thread(target=lambda: r.append(1))\nt.start(); t.join()\nr",
        "[1]\n",
    ),
    "lock": ("import threading\nwith threading.Lock():\n    print('in')", "in\n"),
    "executor": (
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as e:\n    print(list(e.map(llm_query, ['a', 'b'])))",
        "['reply to a', 'reply to b']\n",
    ),
    "as-completed": (
        "from concurrent.futures import ThreadPoolExecutor, as_completed\nwith ThreadPoolExecutor() as e:\n    fs = [e.submit(llm_query, q) for q in 'ab']\n    print(sorted(f.result() for f in as_completed(fs)))",
        "['reply to a', 'reply to b']\n",
    ),
    "gather": (
        "import asyncio\nawait asyncio.gather(llm_query('a'), llm_query('b'))",
        "['reply to a', 'reply to b']\n",
    ),
    "create-task": (
        "import asyncio\nts = [asyncio.create_task(llm_query(q)) for q in 'ab']\n[await t for t in ts]",
        "['reply to a', 'reply to b']\n",
    ),
    "asyncio-run": (
        "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    return await llm_query('a')\nasyncio.run(main())",
        "reply to a\n",
    ),
    "to-thread": (
        "import asyncio\nawait asyncio.gather(*(asyncio.to_thread(llm_query, q) for q in 'ab'))",
        "['reply to a', 'reply to b']\n",
    ),
    "await-single": ("r = await llm_query('a')\nprint(r.upper())", "REPLY TO A\n"),
    "await-batch": ("(await llm_query_batch(['a']))[0]", "reply to a\n"),
    "json-of-reply": (
        "import json\njson.dumps({'r': llm_query('a')})",
        '\'{"r": "reply to a"}\'\n',
    ),
    "hash-base64": (
        "import hashlib, base64, textwrap\nprint(hashlib.md5(b'a').hexdigest()[:4], base64.b64encode(b'a'), textwrap.shorten('a b c', 4, placeholder='~'))",
        "0cc1 b'YQ==' a b~\n",
    ),
    "print-forms": (
        "import sys, io\nb = io.StringIO()\nprint('a', 'b', sep='-', end='!\\n')\nprint('in', file=b)\nprint(b.getvalue(), end='')\nprint('err', file=sys.stderr)\nsys.stdout.write('w\\n');",
        "a-b!\nin\nerr\nw\n",
    ),
    "globals-idiom": (
        "globals()['kept'] = 5\nprint('kept' in dir(), 'kept' in globals(), kept, 'kept' in vars(), 'kept' in locals())",
        "True True 5 True True\n",
    ),
    "main-guard": ("if __name__ == '__main__':\n    print('main')", "main\n"),
    "urllib-parse": (
        "from urllib.parse import quote\nimport urllib.parse\nquote('a b')",
        "'a%20b'\n",
    ),
    "ast-literal": ("import ast\nast.literal_eval('[1, (2,)]')", "[1, (2,)]\n"),
    "xml-free-html": ("import html\nhtml.unescape('&amp;')", "'&'\n"),
    "typing": (
        "from typing import Optional, TypedDict\nclass T(TypedDict):\n    a: int\ndef f(x: Optional[int] = None) -> T: return {'a': x or 0}\nf(2)",
        "{'a': 2}\n",
    ),
    "heap-bisect": (
        "import heapq, bisect\nprint(heapq.nlargest(2, [3, 1, 2]), bisect.bisect([1, 3], 2))",
        "[3, 2] 1\n",
    ),
    "difflib": (
        "import difflib\ndifflib.get_close_matches('appel', ['apple', 'pear'])",
        "['apple']\n",
    ),
    "traceback": (
        "import traceback\ntry:\n    1/0\nexcept ZeroDivisionError:\n    print('1/0' in traceback.format_exc())",
        "True\n",
    ),
    "try-finally": ("try:\n    x = 1\nfinally:\n    print('done')", "done\n"),
    "string-template": ("from string import Template\nTemplate('$a').substitute(a=1)", "'1'\n"),
    "copy": ("import copy\na = [[1]]\nb = copy.deepcopy(a)\nb[0].append(2)\na", "[[1]]\n"),
    "log-lines": (
        "import re\nfrom collections import Counter\nlog = 'a ERROR x\\nb INFO y\\nc ERROR x'\n"
        "Counter(re.findall(r'(ERROR|INFO) (\\w)', log))",
        "Counter({('ERROR', 'x'): 2, ('INFO', 'y'): 1})\n",
    ),
    "json-lines": (
        "import json\nrows = [json.loads(line) for line in '{\"n\": 1}\\n{\"n\": 2}'.splitlines()]\nsum(r['n'] for r in rows)",
        "3\n",
    ),
    "chunks": (
        "text = 'abcdefghij'\nsize, overlap = 4, 1\n[text[i:i + size] for i in range(0, len(text), size - overlap)]",
        "['abcd', 'defg', 'ghij', 'j']\n",
    ),
    "group-by": (
        "from itertools import groupby\n{k: len(list(g)) for k, g in groupby(sorted('banana'))}",
        "{'a': 3, 'b': 1, 'n': 2}\n",
    ),
    "pairwise-accumulate": (
        "from itertools import accumulate, pairwise, chain, islice\nprint(list(accumulate([1, 2, 3])), [b - a for a, b in pairwise([1, 4, 9])], list(islice(chain('ab', 'cd'), 3)))",
        "[1, 3, 6] [3, 5] ['a', 'b', 'c']\n",
    ),
    "sort-by-key": (
        "from operator import itemgetter\nrows = [{'n': 'b', 'v': 1}, {'n': 'a', 'v': 1}]\nsorted(rows, key=itemgetter('v', 'n'))",
        "[{'n': 'a', 'v': 1}, {'n': 'b', 'v': 1}]\n",
    ),
    "regex-named-groups": (
        "import re\nm = re.search(r'(?P<y>\\d{4})-(?P<m>\\d\\d)', 'on 2024-05')\nm.groupdict()",
        "{'y': '2024', 'm': '05'}\n",
    ),
    "regex-split-verbose": (
        "import re\nre.compile(r'\\s*[,;]\\s*  # separators', re.VERBOSE).split('a , b;c')",
        "['a', 'b', 'c']\n",
    ),
    "csv-writer": (
        "import csv, io\nout = io.StringIO()\ncsv.writer(out, lineterminator='\\n').writerows([['a', 'b,c'], [1, 2]])\nprint(out.getvalue(), end='')",
        'a,"b,c"\n1,2\n',
    ),
    "csv-dialect": (
        "import csv, io\nd = csv.Sniffer().sniff('a;b\\n1;2\\n')\nlist(csv.reader(io.StringIO('a;b\\n1;2\\n'), d))",
        "[['a', 'b'], ['1', '2']]\n",
    ),
    "date-arithmetic": (
        "from datetime import date, timedelta\nprint((date(2024, 3, 1) - timedelta(days=1)).isoformat(), (date(2024, 1, 31) - date(2023, 1, 31)).days)",
        "2024-02-29 365\n",
    ),
    "time-zones": (
        "from datetime import datetime, timezone, timedelta\ndatetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2))).astimezone(timezone.utc).isoformat()",
        "'2023-12-31T22:00:00+00:00'\n",
    ),
    "months": (
        "import calendar\nprint(calendar.monthrange(2024, 2), calendar.month_name[5])",
        "(calendar.THURSDAY, 29) May\n" if sys.version_info >= (3, 12) else "(3, 29) May\n",
    ),
    "decimal-context": (
        "from decimal import Decimal, localcontext, ROUND_HALF_UP\nwith localcontext() as c:\n    c.prec = 4\n    print(Decimal(1) / 3, Decimal('2.675').quantize(Decimal('.01'), ROUND_HALF_UP))",
        "0.3333 2.68\n",
    ),
    "statistics-more": (
        "import statistics as st\nprint(st.mean([1, 2, 6]), st.mode('aab'), round(st.stdev([1, 2, 3]), 2), st.quantiles([1, 2, 3, 4], n=2))",
        "3 a 1.0 [2.5]\n",
    ),
    "math": (
        "import math\nprint(math.isclose(math.dist((0, 0), (3, 4)), 5), math.comb(5, 2), math.gcd(12, 18))",
        "True 10 6\n",
    ),
    "text-wrap-indent": (
        "import textwrap\nprint(textwrap.indent(textwrap.dedent('  a\\n  b'), '> '))",
        "> a\n> b\n",
    ),
    "unicode": (
        "import unicodedata\nprint(unicodedata.normalize('NFKD', 'Cr\u00e8me').encode('ascii', 'ignore').decode(), '\u00df'.casefold(), 'na\u00efve'[::-1])",
        "Creme ss ev\u00efan\n",
    ),
    "translate": ("'h-e_l'.translate(str.maketrans('-', ' ', '_'))", "'h el'\n"),
    "bytes": (
        "b = 'h\u00e9'.encode('utf-16-le')\nprint(b.hex(), b.decode('utf-16-le'), int.from_bytes(b[:2], 'little'))",
        "6800e900 h\u00e9 104\n",
    ),
    "struct": ("import struct\nstruct.unpack('<HI', struct.pack('<HI', 1, 2))", "(1, 2)\n"),
    "class-with-slots-and-property": (
        "class T:\n    __slots__ = ('_v',)\n    def __init__(self, v): self._v = v\n    @property\n    def v(self): return self._v * 2\n    def __repr__(self): return f'T({self._v})'\nprint(T(3).v, [T(1)])",
        "6 [T(1)]\n",
    ),
    "abstract-class": (
        "from abc import ABC, abstractmethod\nclass A(ABC):\n    @abstractmethod\n    def f(self): ...\nclass B(A):\n    def f(self): return 'f'\ntry: A()\nexcept TypeError: print(B().f())",
        "f\n",
    ),
    "context-manager": (
        "from contextlib import contextmanager, ExitStack\n@contextmanager\ndef tag(n):\n    print(f'<{n}>', end='')\n    yield\n    print(f'</{n}>', end='')\nwith ExitStack() as s:\n    for n in 'ab': s.enter_context(tag(n))",
        "<a><b></b></a>",
    ),
    "singledispatch-partial": (
        "from functools import singledispatch, partial, reduce\n@singledispatch\ndef f(x): return 'any'\n@f.register\ndef _(x: int): return 'int'\nprint(f(1), f('a'), partial(pow, 2)(3), reduce(lambda a, b: a * b, [1, 2, 3]))",
        "int any 8 6\n",
    ),
    "match-classes": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\ndef where(p):\n    match p:\n        case P(x=0, y=0): return 'origin'\n        case P(x=x) if x > 0: return f'right {x}'\n        case {'k': [first, *_]}: return first\n        case str() | bytes(): return 'text'\n        case _: return 'else'\nprint(where(P(0, 0)), where(P(2, 1)), where({'k': [7, 8]}), where('a'), where(1))",
        "origin right 2 7 text else\n",
    ),
    "star-unpacking": (
        "first, *middle, last = range(5)\nd = {**{'a': 1}, 'b': 2}\nprint(first, middle, last, d, [*middle, *d])",
        "0 [1, 2, 3] 4 {'a': 1, 'b': 2} [1, 2, 3, 'a', 'b']\n",
    ),
    "generator-send": (
        "def avg():\n    total = n = 0\n    value = None\n    while True:\n        value = yield value\n        total += value; n += 1\n        value = total / n\ng = avg(); next(g)\nprint(g.send(2), g.send(4))",
        "2.0 3.0\n",
    ),
    "async-generator": (
        "async def ticks(n):\n    for i in range(n): yield i\nprint([i async for i in ticks(3)])",
        "[0, 1, 2]\n",
    ),
    "async-queue-timeout": (
        "import asyncio\nq = asyncio.Queue()\nawait q.put(1)\nprint(await q.get())\ntry: await asyncio.wait_for(q.get(), 0.01)\nexcept asyncio.TimeoutError: print('late')",
        "1\nlate\n",
    ),
    "task-group": (
        "import asyncio\nasync with asyncio.TaskGroup() as tg:\n    ts = [tg.create_task(asyncio.to_thread(llm_query, q)) for q in 'ab']\nprint([t.result() for t in ts])",
        "['reply to a', 'reply to b']\n",
    ),
    "semaphore": (
        "import asyncio\nlimit = asyncio.Semaphore(2)\nasync def ask(q):\n    async with limit: return await asyncio.to_thread(llm_query, q)\nprint(await asyncio.gather(*map(ask, 'abc')))",
        "['reply to a', 'reply to b', 'reply to c']\n",
    ),
    "queue-of-threads": (
        "import queue, threading\nq, out = queue.Queue(), []\ndef work():\n    while (item := q.get()) is not None: out.append(llm_query(item))\nts = [threading.Thread(target=work) for _ in range(2)]\n[t.start() for t in ts]\nfor x in 'abc': q.put(x)\nfor _ in ts: q.put(None)\n[t.join() for t in ts]\nprint(sorted(out))",
        "['reply to a', 'reply to b', 'reply to c']\n",
    ),
    "batch-and-zip": (
        "parts = [context[i:i + 4] for i in range(0, 12, 4)]\nfor part, reply in zip(parts, llm_query_batch(parts)): print(repr(part), reply)",
        "'some' reply to some\n' con' reply to  con\n'text' reply to text\n",
    ),
    "retry": (
        "def attempt(n, tries=[0]):\n    tries[0] += 1\n    if tries[0] < n: raise ValueError('again')\n    return tries[0]\nwhile True:\n    try:\n        print(attempt(3)); break\n    except ValueError as e: print(e)",
        "again\nagain\n3\n",
    ),
    "exceptions": (
        "class Bad(Exception): pass\ntry:\n    try: int('x')\n    except ValueError as e: raise Bad('wrapped') from e\nexcept Bad as b: print(b, type(b.__cause__).__name__)\nelse: print('no')\nfinally: print('end')",
        "wrapped ValueError\nend\n",
    ),
    "exception-groups": (
        "try: raise ExceptionGroup('g', [ValueError(1), TypeError(2)])\nexcept* ValueError as g: print(len(g.exceptions))\nexcept* TypeError: print('t')",
        "1\nt\n",
    ),
    "typing-more": (
        "from typing import NamedTuple, Literal, get_type_hints\nclass R(NamedTuple):\n    a: int\n    b: str = 'x'\nprint(R(1), R(1)._asdict(), get_type_hints(R)['a'].__name__)",
        "R(a=1, b='x') {'a': 1, 'b': 'x'} int\n",
    ),
    "enum-more": (
        "from enum import Enum, IntFlag, auto\nclass F(IntFlag):\n    A = auto()\n    B = auto()\nclass S(str, Enum):\n    X = 'x'\nprint(int(F.A | F.B), S('x') is S.X)",
        "3 True\n",
    ),
    "json-forms": (
        "import json\nfrom datetime import date\nprint(json.dumps({'d': date(2024, 1, 2), '\u00e9': [None, True]}, default=str, ensure_ascii=False, sort_keys=True))",
        '{"d": "2024-01-02", "\u00e9": [null, true]}\n',
    ),
    "pprint": (
        "from pprint import pprint\npprint({'b': [1], 'a': {'c': 2}}, width=12)",
        "{'a': {'c': 2},\n 'b': [1]}\n",
    ),
    "format-table": (
        "rows = [('a', 1.5), ('bcd', 22)]\nfor name, value in rows: print(f'{name:<5}|{value:>8.2f}')",
        "a    |    1.50\nbcd  |   22.00\n",
    ),
    "random-sample": (
        "import random\nrandom.seed(3)\nprint(sorted(random.sample(range(100), 3)) == sorted(random.Random(3).sample(range(100), 3)))",
        "True\n",
    ),
    "uuid-hash": (
        "import uuid, hashlib\nprint(uuid.uuid5(uuid.NAMESPACE_DNS, 'a').hex[:8], hashlib.sha256(b'a').hexdigest()[:8])",
        "4f3f2898 ca978112\n",
    ),
    "gzip-free-compression": (
        "import zlib, base64\nprint(zlib.decompress(base64.b64decode(base64.b64encode(zlib.compress(b'x' * 99)))).count(b'x'), zlib.crc32(b'a'))",
        "99 3904355907\n",
    ),
    "graph": (
        "from graphlib import TopologicalSorter\nlist(TopologicalSorter({'b': {'a'}, 'c': {'b'}}).static_order())",
        "['a', 'b', 'c']\n",
    ),
    "html-and-urls": (
        "from html.parser import HTMLParser\nfrom urllib.parse import urlparse, parse_qs\nclass L(HTMLParser):\n    def handle_starttag(self, tag, attrs): print(tag, dict(attrs))\nL().feed('<a href=\"/x?q=1\">t</a>')\nprint(parse_qs(urlparse('/x?q=1').query))",
        "a {'href': '/x?q=1'}\n{'q': ['1']}\n",
    ),
    "string-io-lines": (
        "import io\nfor number, line in enumerate(io.StringIO('a\\nb\\n'), 1): print(number, line.rstrip())",
        "1 a\n2 b\n",
    ),
    "del-and-slices": (
        "a = list(range(6))\ndel a[1:3]\na[0:1] = ['x', 'y']\na[::2] = [0, 0, 0]\nprint(a)",
        "[0, 'y', 0, 4, 0]\n",
    ),
    "set-algebra": (
        "a, b = {1, 2, 3}, {2, 3, 4}\nprint(a & b, a - b, a ^ b, a | b, a <= a)",
        "{2, 3} {1} {1, 4} {1, 2, 3, 4} True\n",
    ),
    "nested-comprehensions": (
        "print({(i, j): i * j for i in range(2) for j in range(2) if i or j}, [[c for c in r] for r in ('ab', 'c')])",
        "{(0, 1): 0, (1, 0): 0, (1, 1): 1} [['a', 'b'], ['c']]\n",
    ),
    "closures-in-loops": (
        "fs = [lambda n=n: n * 10 for n in range(3)]\nprint([f() for f in fs])",
        "[0, 10, 20]\n",
    ),
    "sum-of-everything": (
        "words = context.split()\nprint(len(context), len(words), max(words, key=len), any('o' in w for w in words), sorted(set(context))[:3])",
        "12 2 context True [' ', 'c', 'e']\n",
    ),
    "timing": (
        "import time\nstart = time.perf_counter()\ntime.sleep(0.001)\nprint(time.perf_counter() - start < 100, time.time() > 1e9)",
        "True True\n",
    ),
    "logging-to-a-string": (
        "import logging, io\ns = io.StringIO()\nlogger = logging.getLogger('cell')\nlogger.addHandler(logging.StreamHandler(s))\nlogger.propagate = False\nlogger.warning('n=%d', 3)\nprint(s.getvalue(), end='')",
        "n=3\n",
    ),
}

# What needs the time zones of the machine.
ZONES = (
    "from zoneinfo import ZoneInfo\nfrom datetime import datetime\n"
    "print(datetime(2024, 7, 1, tzinfo=ZoneInfo('Europe/Berlin')).utcoffset())",
    "2:00:00\n",
)

# With packages, in "subprocess".
SCIENCE = {
    "numpy-statistics": (
        "import numpy as np\na = np.arange(12).reshape(3, 4)\nprint(a.sum(axis=0), a.mean(), a[a > 6].tolist())",
        "[12 15 18 21] 5.5 [7, 8, 9, 10, 11]\n",
    ),
    "numpy-linear-algebra": (
        "import numpy as np\nprint(round(float(np.linalg.det(np.array([[2.0, 1], [1, 3]]))), 6), np.linalg.solve([[2.0, 0], [0, 4]], [2, 4]))",
        "5.0 [1. 1.]\n",
    ),
    "numpy-random": (
        "import numpy as np\nprint(np.random.default_rng(1).integers(0, 10, 5).size, np.percentile([1, 2, 3, 4], 50))",
        "5 2.5\n",
    ),
    "numpy-answer": (
        "import numpy as np\nx = np.float64(1.5)\nprint(round(float(np.fft.fft([1, 0, 0]).real.sum()), 3), np.unique(list('aab'), return_counts=True)[1])",
        "3.0 [2 1]\n",
    ),
}
