from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tutelage.chat.render.cache import Questions, TracedTemplate
from tutelage.chat.render.config import ChatConfig
from tutelage.chat.render.hf_template import HFTemplate
from tutelage.chat.render.jinja import JinjaTemplate, TemplateError, template_messages
from tutelage.chat.render.layout import VerificationError
from tutelage.chat.render.outline import marked, put, texts_of
from tutelage.records import Conversation, message

# What templates do to a text that leaves every conversation of a shape alike, or asks what can be asked again.
FORETOLD = {
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
    "is marked": "{% generation %}{{ message.content }}{% endgeneration %}",
    "cuts the list": "{% for one in messages[:1] %}{{ one.content }}{% endfor %}{{ message.content }}",
    "counts in twos": "{{ 'x' if loop.index0 % 2 == 0 }}{{ message.content }}",
}
# What looks at a text in ways that pass by its methods, or that no question tells.
LOOKING = {
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


class Foretelling:
    """A template, what it writes of markers, and what it asks."""

    def __init__(self, source: str) -> None:
        self.jinja = JinjaTemplate(ChatConfig(source, {}))
        self.questions = Questions()
        watched = TracedTemplate(self.jinja)
        try:
            self.written = watched.render(template_messages(marked(TALK), False), [], False, self.questions)
        except TemplateError:
            self.written, self.questions.foretold = "", False

    def of(self, conversation: Conversation) -> str | None:
        """What is foretold."""
        texts = texts_of(conversation)
        if not self.questions.foretold or not self.questions.answered_alike(texts):
            return None
        return put(self.written, texts)

    def rendered(self, conversation: Conversation) -> str:
        try:
            return self.jinja.render(template_messages(conversation, False), [], False)
        except TemplateError as error:
            return str(error)


WORDS = st.text("xyzZ <\n'", min_size=1, max_size=4).filter(str.strip)


@pytest.mark.parametrize("name", [*FORETOLD, *LOOKING])
def test_what_is_foretold_is_what_is_written(name: str) -> None:
    template = Foretelling(whole((FORETOLD | LOOKING)[name]))

    @settings(max_examples=60)
    @example("z", "z")
    @example("x", "yz")
    @example(" z\n", "\nx ")
    @given(WORDS, WORDS)
    def check(asked: str, said: str) -> None:
        foretold = template.of(talk(asked, said))
        assert foretold is None or foretold == template.rendered(talk(asked, said))

    check()


@pytest.mark.parametrize("name", FORETOLD)
def test_harmless_templates_are_foretold(name: str) -> None:
    template = Foretelling(whole(FORETOLD[name]))
    assert template.questions.foretold
    assert template.of(talk("one more", "an answer")) == template.rendered(talk("one more", "an answer"))


def test_only_where_the_same_is_answered() -> None:
    template = Foretelling(whole(FORETOLD["asks what it holds"]))
    assert template.of(talk("a", "b")) is not None
    assert template.of(talk("a", "<z")) is None
    trimming = Foretelling(whole(FORETOLD["trims"]))
    assert trimming.of(talk("a", "b")) is not None
    assert trimming.of(talk("a", " b")) is None
    assert Foretelling(whole(FORETOLD["writes"])).of(talk("a", " b")) is not None


@settings(max_examples=40)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=3, max_size=8), st.sampled_from([*FORETOLD.values()]))
def test_a_template_lays_out_the_hundredth_as_the_first(pairs: list[tuple[str, str]], fragment: str) -> None:
    source = ChatConfig(whole(fragment) + "{% if add_generation_prompt %}<|assistant|>{% endif %}", {})
    names = frozenset({"<|user|>", "<|assistant|>", "<|end|>"})
    used = HFTemplate(source, names)
    for asked, said in pairs:
        found: list[object] = []
        for template in (used, HFTemplate(source, names)):
            try:
                layout = template.lay_out(talk(asked, said), last=False)
                found.append((layout.text, layout.turns_K3.tolist(), layout.cuts_C.tolist()))
            except VerificationError as error:
                found.append(error.reason)
        assert found[0] == found[1]
