"""Places to run cells. The names here are public; everything else in this package is not."""

from langchain_replm.sandbox.base import Exchanged, Sandbox, Transport
from langchain_replm.sandbox.local import LocalSandbox
from langchain_replm.sandbox.process import ProcessSandbox

__all__ = ["Exchanged", "LocalSandbox", "ProcessSandbox", "Sandbox", "Transport"]
