"""Spans of a run in OpenTelemetry. Nothing to switch on: configure a tracer provider.

Needs `pip install "langchain-replm[tracing]" opentelemetry-sdk`.
"""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langchain_replm import RLM
from langchain_replm.testing import ScriptedChatModel

exporter = InMemorySpanExporter()  # in a program: OTLPSpanExporter
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

root = ScriptedChatModel(replies=["```repl\nFINAL(llm_query(context))\n```"])
RLM(root, sub_model=ScriptedChatModel(replies=["a heron"])).generate("What is it?", "grey, tall")
for span in exporter.get_finished_spans():
    print(f"{span.name:14}", dict(span.attributes or {}).get("rlm.stop_reason", ""))
