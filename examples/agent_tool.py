"""An agent that looks things up with the retriever.

    pip install langchain
    python examples/agent_tool.py "Who pays for return shipping?"
    python examples/agent_tool.py "Who pays for return shipping?" openai:gpt-5-mini

Without a model's name a scripted one stands in: it calls the tool with the question, then repeats what came back.
"""

import sys
from typing import Any

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import create_retriever_tool
from rag_chain import retriever


class Scripted(GenericFakeChatModel):
    """Stands in for a chat model that can call tools."""

    def bind_tools(self, *_: Any, **__: Any) -> "Scripted":
        """Take the tools for known."""
        return self


def scripted(question: str) -> Scripted:
    call = {"name": "shop_faq", "args": {"query": question}, "id": "1"}
    return Scripted(messages=iter([AIMessage("", tool_calls=[call]), AIMessage("That is what I found.")]))


def main(question: str, model: str | None = None) -> None:
    tool = create_retriever_tool(
        retriever(),
        "shop_faq",
        "Looks up what the shop says about orders, delivery, payment and returns.",
        response_format="content_and_artifact",
    )
    chosen: BaseChatModel = scripted(question) if model is None else init_chat_model(model)
    state = create_agent(chosen, [tool]).invoke({"messages": [("human", question)]})
    for message in state["messages"]:
        print(f"{message.type}: {message.text or 'calls ' + message.tool_calls[0]['name']}")
    # The documents themselves, with ids and scores, for what shows sources.
    found = next(message.artifact for message in state["messages"] if message.type == "tool")
    print([document.id for document in found])


if __name__ == "__main__":
    main(*sys.argv[1:] or ["Who pays for return shipping?"])
