"""A chat template may neither loop for ever nor fill the memory, and real ones never meet the bounds."""

import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trl
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers.utils import chat_template_utils

from advisor.chat import bounded_sandbox
from advisor.chat.bounded_sandbox import TooMuchWork, bound_templates
from advisor.data.dataset import load_dataset
from advisor.errors import InputError
from tests.helpers.byte_tokens import byte_tokenizer

PACKAGED = Path(trl.__file__).parent / "chat_templates"
ROWS = [{"prompt": "a", "completion": "b"}]
MANY = "range(99999)"
LOOPS = {
    "nested": "{% for a in R %}{% for b in R %}{% for c in R %}{% endfor %}{% endfor %}{% endfor %}",
    "filtered": "{% for a in R %}{% for b in R if false %}{% endfor %}{% endfor %}",
    "macro": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "map": "{% for a in R %}{{ R|map('trim')|join|length }}{% endfor %}",
}
PRODUCTS = {
    "operator": "{{ 'a' * 10**9 }}",
    "list": "{{ [1] * 10**9 }}",
    "power": "{{ 10 ** (10**8) }}",
    "filter": "{{ 'a'|center(10**9) }}",
    "constant": "{{ 'a'|center(1000000000) }}",
    "method": "{{ 'a'.ljust(10**9) }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "star": "{{ '%*d' % (10**9, 1) }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "width": "{{ '{:{}}'.format(1, 10**9) }}",
    "indent": "{{ [1]|tojson(indent=10**9) }}",
    "batch": "{{ [1]|batch(10**9, 'x')|length }}",
    "replace": "{{ ('a' * 10**5).replace('', 'b' * 10**5) }}",
    "replaced": "{{ ('a' * 10**5)|replace('a', 'b' * 10**5) }}",
    "join": "{{ ('b' * 10**5).join(R|map('string')) }}",
    "joined": "{{ R|join('b' * 10**5) }}",
    "shared": "{{ ['a' * 10**5] * 10**5 }}",
    "concatenation": "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}"
    "{% endfor %}",
    "sum": "{% set n = namespace(x='aaaa') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "block": "{% set x = 'aaaa' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 40,
    "fixed text": "{% for a in R %}{% for b in R %}" + "x" * 100_000 + "{% endfor %}{% endfor %}",
    "widths": "{{ ('{0:999999}' * 700).format('a') }}",
    "precisions": "{{ ('{0:.999999f}' * 700).format(0.5) }}",
    "widths among values": "{{ ('{0:{1}}' * 700).format('a', 999999) }}",
    "widths by percent": "{{ ('%(a)999999d' * 700) % {'a': 1} }}",
    "widths by filter": "{{ ('%(a)999999d' * 700)|format(a=1) }}",
    "bytes replaced": "{{ ('a' * 10**5).encode().replace('a'.encode(), ('b' * 10**5).encode()) }}",
    "bytes joined": "{{ ('b' * 10**5).encode().join(R|map('string')|map('urlencode')) }}",
    "bytes by percent": "{{ ('%(a)999999d' * 700).encode() % {'a'.encode(): 1} }}",
    "safe text replaced": "{{ (('a' * 10**5)|safe).replace('', 'b' * 10**5) }}",
    "safe text padded": "{{ ('a'|safe).ljust(10**9) }}",
    "rounded": "{{ 5|round(3000000, 'ceil') }}",
    "rounded up": "{{ 5|round(-3000000) }}",
    "nested lists": "{% set x = ['a'] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
}


def rendered(template: str, messages: list[dict[str, Any]]) -> str:
    found: Any = chat_template_utils.render_jinja_template(
        conversations=[messages],
        chat_template=template,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    return str(found[0][0])


@pytest.mark.parametrize("name", LOOPS)
def test_loops_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bound_templates()
    monkeypatch.setattr(bounded_sandbox, "TURNS", 50_000)
    with pytest.raises(TooMuchWork, match="50,000 turns of loops"):
        rendered(LOOPS[name].replace("R", MANY), [])


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_refused_before_they_are_made(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound_templates()
    monkeypatch.setattr(bounded_sandbox, "ONE", 10_000_000)
    monkeypatch.setattr(bounded_sandbox, "ALL", 100_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooMuchWork):
            rendered(PRODUCTS[name].replace("R", MANY), [])
        assert tracemalloc.get_traced_memory()[1] < 200_000_000
    finally:
        tracemalloc.stop()


def test_time_ends_the_rest_in_a_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bound_templates()
    monkeypatch.setattr(bounded_sandbox, "SECONDS", 0.2)
    found: list[BaseException] = []

    def work() -> None:
        try:
            rendered("{% for a in range(99999) %}{{ range(99999)|sum }}{% endfor %}", [])
        except TooMuchWork as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=100)
    assert "seconds" in str(found[0])


@pytest.mark.parametrize("template", [LOOPS["macro"], PRODUCTS["operator"]])
def test_the_reader_refuses_in_one_line(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_sandbox, "TURNS", 50_000)
    with pytest.raises(InputError, match="chat template does too much work") as caught:
        load_dataset(ROWS, byte_tokenizer(chat_template=template))
    assert "\n" not in str(caught.value)


def test_a_template_that_runs_away_at_one_row_is_refused_though_bad_rows_are_dropped() -> None:
    template = (
        "{% for m in messages %}{{ m.content * (10**9 if 'evil' in m.content else 1) }}{% endfor %}"
    )
    rows = [*ROWS, {"prompt": "evil", "completion": "b"}]
    dataset = load_dataset(rows, byte_tokenizer(chat_template=template), drop_bad_rows=True)
    with pytest.raises(InputError, match="in memory, the chat template does too much work"):
        dataset.tokenize(range(2))


def test_what_apply_chat_template_renders_is_bounded() -> None:
    bound_templates()
    tokenizer = byte_tokenizer(chat_template=PRODUCTS["filter"])
    with pytest.raises(TooMuchWork):
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)


@pytest.mark.parametrize("messages", [20, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", sorted(PACKAGED.glob("*.jinja")), ids=lambda path: path.stem)
def test_packaged_templates_write_chats_as_without_bounds(
    path: Path, messages: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text as by jinja2's own sandbox.

    Slow: 1,000 messages of about 500 characters are 128k tokens, and none meets a bound; that the text is the
    same is seen in the short ones.
    """
    text = path.read_text(encoding="utf-8")
    talk = [
        {"role": ("user", "assistant")[k % 2], "content": f"{k} word " * 60}
        for k in range(messages)
    ]
    bound_templates()
    found = written(text, talk)
    if messages == 1000:
        return
    monkeypatch.setattr(
        chat_template_utils, "ImmutableSandboxedEnvironment", ImmutableSandboxedEnvironment
    )
    again = text.removesuffix("\n") + "{# transformers keeps what it compiled by its text #}"
    assert found == written(again, talk)


def written(template: str, talk: list[dict[str, Any]]) -> str:
    """The text, or what the template says against the conversation; never a bound."""
    try:
        return rendered(template, talk)
    except TooMuchWork:
        raise
    except TemplateError as error:
        return f"refused: {error}"
