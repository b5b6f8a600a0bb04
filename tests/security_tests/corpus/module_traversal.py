"""From a module that may be imported to one that may not: the language rules do not hold, and need not."""

from tests.security_tests.corpus import attacks

ROWS = {
    "random-os": "import random\nprint(random._os.popen('cat <<file>>').read())",
    "json-codecs": "import json\nprint(json.codecs.open('<<file>>').read())",
    "re-enum-sys": "import re\nprint(re.enum.sys.modules['posix'].read(re.enum.sys.modules['posix'].open('<<file>>', 0), 99))",
    "statistics-sys": "import statistics\nprint(statistics.sys.modules['builtins'].open('<<file>>').read())",
    "enum-builtins": "import enum\nprint(enum.bltns.open('<<file>>').read())",
    "module-builtins": "import math, decimal\nprint(decimal.__builtins__['open']('<<file>>').read())",
    "module-loader": "import random\nprint(random.__loader__.get_data('<<file>>'))",
    "spec-loader": "import string\nprint(type(string.__spec__.loader)('x', '<<file>>').get_data('<<file>>'))",
    "tokenize-open": "import tokenize\nprint(tokenize.open('<<file>>').read())",
    "io-open": "import io\nprint(io.open('<<file>>').read())",
    "io-file": "import io\nprint(io.FileIO('<<file>>').read())",
    "io-open-code": "import io\nprint(io.open_code('<<file>>').read())",
    "linecache": "import traceback\nprint(traceback.linecache.getlines('<<file>>'))",
    "asyncio-process": "import asyncio\nprint(asyncio.subprocess.subprocess.check_output(['cat', '<<file>>']))",
    "logging-os": "import logging\nos = logging.os\nprint(os.read(os.open('<<file>>', os.O_RDONLY), 99))",
    "real-import": "print(len.__self__.__import__('os').popen('cat <<file>>').read())",
    "builtin-self": "print(len.__self__.open('<<file>>').read())",
    "html-parser": "import html.parser\nprint(html.parser.re.enum.sys.modules['io'].open('<<file>>').read())",
    "zoneinfo": "import zoneinfo\nprint(zoneinfo._tzpath.os.popen('cat <<file>>').read())",
    "uuid": "import uuid\nprint(uuid.os.popen('cat <<file>>').read())",
    "importlib-of-typing": "import typing\nprint(typing.sys.modules['importlib._bootstrap_external'].SourceFileLoader('x', '<<file>>').get_data('<<file>>'))",
    "operator": "import operator\nprint(operator.attrgetter('__self__.open')(len)('<<file>>').read())",
}

ATTACKS = attacks("module traversal", "told", ROWS, bare=True)
