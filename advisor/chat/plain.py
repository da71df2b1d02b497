"""The plain form of a conversation, for a tokenizer without a chat template or by wish."""

from collections.abc import Mapping, Sequence
from typing import Any

THOUGHT = (
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' if m.reasoning_content else '' }}"
)
CALLS = "{{ (m.tool_calls or '') and ('\\n' if m.content else '') + m.tool_calls | tojson }}"
CONTENT = THOUGHT + "{{ m.content or m.refusal or '' }}" + CALLS
PLAIN_SINGLE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% generation %}" + CONTENT + "{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m.content }}{{ '\\n' }}{% endif %}{% endfor %}"
)
PLAIN_CHAT = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'Assistant:' }}"
    "{% generation %}{{ ' ' }}" + CONTENT + "{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ {'user': 'User: ', 'tool': 'Tool: '}.get(m.role, '') }}{{ m.content }}{% endif %}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}"
)
PLAIN_TEXT = (
    "{system}\\n{user}\\n{assistant}{eos}, and in conversations of several turns "
    "{system}\\nUser: {user}\\nAssistant: {assistant}{eos}\\n..."
)


def plain_template(messages: Sequence[Mapping[str, Any]]) -> str:
    """The template of one question and answer, or with labels for more turns."""
    roles = [m["role"] for m in messages]
    several = roles.count("assistant") > 1 or roles.count("user") > 1 or "tool" in roles
    return PLAIN_CHAT if several else PLAIN_SINGLE
