"""`python -m langchain_replm.cli`."""

import sys

from langchain_replm.cli import main

sys.exit(main())
