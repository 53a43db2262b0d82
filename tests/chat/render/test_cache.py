from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutelage.chat.render.cache import RecordedPredicates, TracedTemplate
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf_template import HFTemplate
from tutelage.chat.render.jinja import JinjaTemplate, MessageLayout, TemplateError, template_messages
from tutelage.chat.render.layout import VerificationError
from tutelage.chat.render.outline import fill_sentinels, part_texts, with_sentinels
from tutelage.records import Conversation, message

# What templates do to a text that leaves every conversation of a structure alike, or asks what can be asked again.
CACHED = {
    "writes": "{{ message.content }}",
    "writes it twice": "{{ message['content'] }}{{ message.get('content') }}",
    "trims": "{{ message.content | trim }}",
    "trims by method": "{{ message.content.strip() }}",
    "trims lines": "{{ message.content.lstrip('\\n').rstrip() }}",
    "adds": "{{ '<' + message.content + '>' }}",
    "joins": "{{ '<' ~ message.content ~ loop.index }}",
    "keeps": "{% set kept = message.content %}{{ kept }}",
    "keeps in a namespace": "{% set ns = namespace(x='') %}{% set ns.x = message.content %}{{ ns.x }}",
    "asks for its type": "{% if message.content is string %}{{ message.content }}{% else %}-{% endif %}",
    "asks whether it is there": "{% if message.content %}{{ message.content }}{% endif %}",
    "asks whether it is there and not none": "{{ message.content if message.content is not none else '' }}",
    "asks what it holds": "{{ 'b' if '<z' in message.content else 'a' }}{{ message.content }}",
    "asks what it does not hold": "{{ 'b' if '<z' not in message.content else 'a' }}{{ message.content }}",
    "asks how it begins": "{{ 'b' if message.content.startswith('z') else 'a' }}{{ message.content }}",
    "asks whether it is another": "{{ 'b' if message.content == 'z' else 'a' }}{{ message.content }}",
    "asks whether it is one of": "{{ 'b' if message.content in ['z', 'zz'] else 'a' }}{{ message.content }}",
    "falls back": "{{ message.content | default('nothing') }}",
    "says by a macro": "{% macro say(m) %}[{{ m.content }}]{% endmacro %}{{ say(message) }}",
    "says a text by a macro": "{% macro say(t) %}[{{ t }}]{% endmacro %}{{ say(message.content) }}",
    "looks for the last": "{% set last = messages | last %}{{ 'x' if loop.last }}{{ last.role }}{{ message.content }}",
    "chooses by role": "{{ (messages | selectattr('role', 'equalto', 'user') | list | length) }}{{ message.content }}",
    "trims what it adds": "{{ ('\n' + message.content + ' ') | trim }}",
    "asks what it adds": "{% set t = '[' ~ message.content %}{{ 'b' if '[z' in t else 'a' }}{{ message.content }}",
    "asks a macro": "{% macro say(m) %}{{ m.content }}{% endmacro %}"
    "{{ 'b' if '<z' in say(message) else 'a' }}{{ say(message) | trim }}",
    "splits by what it does not hold": "{{ message.content.split('<z')[-1].lstrip('\n') }}",
    "replaces what it does not hold": "{{ message.content.replace('<z', '') }}",
    "is with_sentinels": "{% generation %}{{ message.content }}{% endgeneration %}",
    "cuts the list": "{% for one in messages[:1] %}{{ one.content }}{% endfor %}{{ message.content }}",
    "counts in twos": "{{ 'x' if loop.index0 % 2 == 0 }}{{ message.content }}",
}
# What depends on a text in ways that bypass its methods, or that no predicate records.
NOT_CACHED = {
    "is a needle": "{{ 'b' if message.content in 'xyz' else 'a' }}{{ message.content }}",
    "is no needle": "{{ 'b' if message.content not in 'xyz' else 'a' }}{{ message.content }}",
    "is a needle in a chain": "{{ 'b' if 'x' < message.content in 'xyz' else 'a' }}{{ message.content }}",
    "is a tested needle": "{{ 'b' if message.content is in('xyz') else 'a' }}{{ message.content }}",
    "a literal's end": "{{ 'b' if 'xyz'.endswith(message.content) else 'a' }}{{ message.content }}",
    "a literal's end in a pair": "{{ 'b' if 'xyz'.endswith((message.content, 'q')) else 'a' }}{{ message.content }}",
    "replaced in a literal": "{{ 'xyz'.replace(message.content, 'b') }}{{ message.content }}",
    "replaces in a literal": "{{ 'xyz' | replace('x', message.content) }}",
    "counted in a literal": "{{ 'xyz'.count(message.content) }}{{ message.content }}",
    "upper-cased": "{{ message.content.upper() }}",
    "upper-cased by a filter": "{{ message.content | upper }}",
    "upper-cased in a list": "{{ messages | map(attribute='content') | map('upper') | join }}",
    "dumped": "{{ message.content | tojson }}",
    "dumped within": "{{ message | tojson }}",
    "measured": "{{ message.content | length }}{{ message.content }}",
    "measured later": "{% set t = 'x' + message.content %}{{ t | length }}{{ message.content }}",
    "asked when put together": "{% set t = '' ~ message.content %}{{ 'b' if 'z' in t else 'a' }}{{ message.content }}",
    "asked when added": "{% set t = '' + message.content %}{{ 'b' if 'z' in t else 'a' }}{{ message.content }}",
    "asked when formatted": "{{ 'b' if 'z' in '%s' % message.content else 'a' }}{{ message.content }}",
    "asked in a pair": "{{ 'b' if 'z' in '%s%s' % (message.content, 1) else 'a' }}{{ message.content }}",
    "asked in format": "{{ 'b' if 'z' in '{}'.format(message.content) else 'a' }}{{ message.content }}",
    "asked in format of all": "{{ 'b' if 'z' in '{0[content]}'.format(message) else 'a' }}{{ message.content }}",
    "asked by the format filter": "{{ 'b' if 'z' in '%s' | format(message.content) else 'a' }}{{ message.content }}",
    "asked when captured": "{% set t %}{{ message.content }}{% endset %}{{ 'b' if 'z' in t else 'a' }}{{ t }}",
    "asked when filtered": "{% filter upper %}{{ message.content }}{% endfilter %}",
    "asked of a macro": "{% macro say(m) %}{{ m.content }}{% endmacro %}"
    "{{ 'b' if 'z' in say(message) else 'a' }}{{ message.content }}",
    "asked of a caller": "{% macro say() %}{{ 'b' if 'z' in caller() else 'a' }}{% endmacro %}"
    "{% call say() %}{{ message.content }}{% endcall %}{{ message.content }}",
    "asked of a joined list": "{{ 'b' if 'z' in [message.content, ''] | join else 'a' }}{{ message.content }}",
    "asked of a list as text": "{{ 'b' if 'z' in [message.content] | string else 'a' }}{{ message.content }}",
    "joined": "{{ 'b' if 'z' in ', '.join([message.content, 'x']) else 'a' }}{{ message.content }}",
    "asked as safe": "{{ 'b' if 'z' in message.content | safe else 'a' }}{{ message.content }}",
    "escaped": "{{ message.content | e }}",
    "escaped by default": "{% autoescape true %}{{ message.content }}{% endautoescape %}",
    "a key": "{{ {'z': 'b'}[message.content] | default('a') }}{{ message.content }}",
    "a key got": "{{ {'z': 'b'}.get(message.content, 'a') }}{{ message.content }}",
    "a key within": "{{ 'b' if message.content in {'z': 1} else 'a' }}{{ message.content }}",
    "an attribute": "{{ messages[message.content] is defined }}{{ message.content }}",
    "a form": "{{ ('{0}' + message.content).format('z') }}",
    "a form filled by a map": "{{ message.content.format_map({}) }}",
    "luck": "{{ ['z', 'x'] | random }}{{ message.content }}",
    "its first": "{{ message.content[0] }}{{ message.content }}",
    "its first by a filter": "{{ message.content | first }}{{ message.content }}",
    "a slice": "{{ message.content[:2] }}",
    "its characters": "{% for c in message.content %}{{ c }}-{% endfor %}",
    "its characters unpacked": "{% set a, b = message.content[:2].ljust(2) %}{{ a }}{{ message.content }}",
    "its parts": "{{ message.content.split('z')[-1] }}",
    "its lines": "{{ message.content.splitlines() | length }}{{ message.content }}",
    "stripped of letters": "{{ message.content.strip('z') }}",
    "stripped of letters by a filter": "{{ message.content | trim('z') }}",
    "multiplied": "{{ message.content * 2 }}",
    "compared with another": "{{ 'b' if messages[0].content == messages[-1].content else 'a' }}{{ message.content }}",
    "changed": "{{ 'b' if loop.changed(message.content) else 'a' }}{{ message.content }}",
    "sorted": "{{ (messages | sort(attribute='content') | first).role }}{{ message.content }}",
    "made unique": "{{ messages | map(attribute='content') | unique | list | length }}{{ message.content }}",
    "grouped": "{{ messages | groupby('content') | length }}{{ message.content }}",
    "chosen": "{{ messages | selectattr('content', 'equalto', 'z') | list | length }}{{ message.content }}",
    "chosen by what it holds": "{{ messages | map(attribute='content') | select('in', 'xyz') | list | length }}"
    "{{ message.content }}",
    "a number": "{{ message.content | int }}{{ message.content }}",
    "shown": "{{ message }}",
    "a test of case": "{{ 'b' if message.content is lower else 'a' }}{{ message.content }}",
    "greater": "{{ 'b' if message.content > 'm' else 'a' }}{{ message.content }}",
    "kept and asked": "{% set ns = namespace(x=message.content) %}{{ 'b' if ns.x[-1:] == 'z' else 'a' }}{{ ns.x }}",
    "translated": "{{ 'xyz'.translate({120: message.content}) | length }}{{ message.content }}",
}


def whole(fragment: str) -> str:
    return "{% for message in messages %}<|{{ message.role }}|>" + fragment + "<|end|>{% endfor %}"


def talk(asked: str, said: str) -> Conversation:
    return Conversation((message("user", asked), message("assistant", said)))


TALK = talk("one", "two")


class Tracing:
    """A template, what it writes of sentinels, and what it asks."""

    def __init__(self, source: str) -> None:
        self.jinja = JinjaTemplate(ChatConfig(source, {}))
        self.predicates = RecordedPredicates()
        traced = TracedTemplate(self.jinja)
        try:
            self.written = traced.render(
                template_messages(with_sentinels(TALK), MessageLayout()), [], False, {}, self.predicates
            )
        except TemplateError:
            self.written, self.predicates.cacheable = "", False

    def of(self, conversation: Conversation) -> str | None:
        """What the cache fills in."""
        texts = part_texts(conversation)
        if not self.predicates.cacheable or not self.predicates.same_predicates(texts):
            return None
        return fill_sentinels(self.written, texts)

    def rendered(self, conversation: Conversation) -> str:
        try:
            return self.jinja.render(template_messages(conversation, MessageLayout()), [], False)
        except TemplateError as error:
            return str(error)


WORDS = st.text("xyzZ <\n'", min_size=1, max_size=4).filter(str.strip)


@pytest.mark.parametrize("name", [*CACHED, *NOT_CACHED])
def test_what_the_cache_fills_in_is_what_the_template_writes(name: str) -> None:
    template = Tracing(whole((CACHED | NOT_CACHED)[name]))

    @settings(max_examples=60)
    @example("z", "z")
    @example("x", "yz")
    @example(" z\n", "\nx ")
    @given(WORDS, WORDS)
    def check(asked: str, said: str) -> None:
        filled = template.of(talk(asked, said))
        assert filled is None or filled == template.rendered(talk(asked, said))

    check()


@pytest.mark.parametrize("name", CACHED)
def test_harmless_templates_are_cached(name: str) -> None:
    template = Tracing(whole(CACHED[name]))
    assert template.predicates.cacheable
    assert template.of(talk("one more", "an answer")) == template.rendered(talk("one more", "an answer"))


def test_the_cache_is_hit_only_where_the_predicates_have_the_same_values() -> None:
    template = Tracing(whole(CACHED["asks what it holds"]))
    assert template.of(talk("a", "b")) is not None
    assert template.of(talk("a", "<z")) is None
    trimming = Tracing(whole(CACHED["trims"]))
    assert trimming.of(talk("a", "b")) is not None
    assert trimming.of(talk("a", " b")) is None
    assert Tracing(whole(CACHED["writes"])).of(talk("a", " b")) is not None


@settings(max_examples=40)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=3, max_size=8), st.sampled_from([*CACHED.values()]))
def test_with_and_without_the_cache_the_layouts_are_the_same(pairs: list[tuple[str, str]], fragment: str) -> None:
    source = ChatConfig(whole(fragment) + "{% if add_generation_prompt %}<|assistant|>{% endif %}", {})
    names = {"<|user|>": 1, "<|assistant|>": 2, "<|end|>": 3}
    used = HFTemplate(source, names)
    for asked, said in pairs:
        found: list[object] = []
        for template in (used, HFTemplate(source, names, cached=False)):
            try:
                layout = template.layout(talk(asked, said), last=False)[0]
                found.append((layout.text, layout.turns_K3.tolist(), layout.starts_S.tolist()))
            except VerificationError as error:
                found.append(error.reason)
        assert found[0] == found[1]
