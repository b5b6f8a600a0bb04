"""Templates that walk along attributes."""

from tests.security_tests.corpus import attacks

PATH = "0.__globals__[sys].modules[os].environ[HOST_SECRET]"
ROWS = {
    "format": f"import random\nprint('{{{PATH}}}'.format(llm_query))",
    "format-map": "import random\nprint('{f.__globals__[sys].modules[os].environ[HOST_SECRET]}'.format_map({'f': llm_query}))",
    "formatter": f"import string, random\nprint(string.Formatter().format('{{{PATH}}}', llm_query))",
    "log-style": "import logging, random\nr = logging.makeLogRecord({'f': llm_query})\nprint(logging.Formatter('{f.__globals__[sys].modules[os].environ[HOST_SECRET]}', style='{').format(r))",
    "nested": "import random\nname = 'HOST_SECRET'\nprint(('{0.__globals__[sys].modules[os].environ[' + name + ']}').format(llm_query))".replace(
        "{{", "{"
    ).replace("}}", "}"),
    "of-an-error": "import random\ntry: raise ValueError(llm_query)\nexcept ValueError as e: print('{0.args[0].__globals__[sys].modules[os].environ[HOST_SECRET]}'.format(e))",
    "in-a-prompt": f"import random\nllm_query('{{{PATH}}}'.format(llm_query))",
}

ATTACKS = attacks("format strings", "told", ROWS, bare=True)
