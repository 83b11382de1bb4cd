#!/usr/bin/env python3
"""Makes chat-cases.json: what Python's Jinja2, set up as transformers does it, renders.

    make-chat-cases.py DATA > chat-cases.json

DATA is the directory that has chat_templates/: the templates of published models are read there and stay there, only
what they render is kept. Sections of the result:

  contexts   name -> variables of a render
  templates  file -> [[name of the context, outcome]…]; a text is given as [head, text, tail]: the first `head` bytes of
             the text before it, then `text`, then that text's last `tail` bytes
  unit, real id -> outcome, of those cases in jinja_unit_cases.json and real_template_cases.json that expect another
             dialect than Python's
  snippets   [template, outcome] rendered with the context "snippets"

An outcome is a text; or {"raise": message}: raise_exception() was called; or {"undefined": 1}: something undefined was
used; or {"error": 1}: Python met another error, such as a type error, where an interpreter may know what to do.
"""
import datetime
import json
import os
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

NOW = 1752105600  # 10 July 2025, UTC


class Raised(jinja2.exceptions.TemplateError):
    pass


class Generation(Extension):
    """transformers' AssistantTracker, without the tracking."""
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_support"), [], [], body).set_lineno(lineno)

    @jinja2.pass_eval_context
    def _support(self, context, caller):
        return caller()


def environment(kind):
    env = kind(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise Raised(message)

    def strftime_now(fmt):
        return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(fmt)

    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


# Some templates change lists of their own, which the immutable sandbox forbids.
STRICT, MUTABLE = environment(ImmutableSandboxedEnvironment), environment(SandboxedEnvironment)


def outcome(source, context):
    context = json.loads(json.dumps(context))
    try:
        try:
            return STRICT.from_string(source).render(**context)
        except jinja2.exceptions.SecurityError:
            return MUTABLE.from_string(source).render(**context)
    except Raised as e:
        return {"raise": e.message}
    except jinja2.exceptions.UndefinedError:
        return {"undefined": 1}
    except Exception:
        return {"error": 1}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city, \"now\" & later.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "Name of the city"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        "days": {"type": ["integer", "null"], "description": "How many", "minimum": 1, "maximum": 7.5},
        "hours": {"type": "array", "items": {"type": "integer"}},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                  "required": ["lat"]},
        "exact": {"type": "boolean"}},
        "required": ["city", "unit"]},
    "return": {"type": "object", "description": "Weather"}}}
NOTHING = {"type": "function", "function": {
    "name": "stop", "description": "Stops.", "parameters": {"type": "object", "properties": {}}}}

SYSTEM = {"role": "system", "content": "You are helpful."}
HELLO = {"role": "user", "content": "Hello <there> & \"you\""}
REPLY = {"role": "assistant", "content": "Hi! It's fine.\n"}
THANKS = {"role": "user", "content": "  Grüße, 世界 🙂  "}


def call(arguments, **more):
    return {"role": "assistant", "content": more.pop("content", ""), "tool_calls": [
        {"id": "call12345", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}], **more}


ARGUMENTS = {"city": "Zürich", "days": 2, "exact": True, "where": {"lat": 47.25, "lon": None}, "hours": [1, 2]}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": "{\"temp\": -3.5}"}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "now": NOW}


def context(messages, generate=True, **more):
    return {"messages": messages, "add_generation_prompt": generate, **TOKENS, **more}


TEXT_PART = {"type": "text", "text": "What is this?"}
CONTEXTS = {
    "plain": context([SYSTEM, HELLO, REPLY, THANKS]),
    "no system": context([HELLO]),
    "no prompt": context([HELLO, REPLY], generate=False),
    "tools": context([SYSTEM, HELLO], tools=[WEATHER, NOTHING]),
    "tool call": context([SYSTEM, HELLO, call(ARGUMENTS), RESULT], tools=[WEATHER]),
    "tool call as text": context([HELLO, call(json.dumps(ARGUMENTS)), RESULT, REPLY, THANKS], tools=[WEATHER, NOTHING]),
    "tool call, no content": context([HELLO, call(ARGUMENTS, content=None), RESULT, RESULT], tools=[NOTHING]),
    "parts": context([HELLO, REPLY, {"role": "user", "content": [{"type": "image"}, TEXT_PART]}]),
    "text parts": context([{"role": "system", "content": [TEXT_PART]}, {"role": "user", "content": [TEXT_PART, TEXT_PART]}]),
    "thinking": context([SYSTEM, HELLO, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes.",
                                         "reasoning_content": "Hm."}, THANKS], enable_thinking=True, thinking=True),
    "no thinking": context([HELLO, {"role": "assistant", "content": "<think>Hm.</think>Yes."}, THANKS],
                           enable_thinking=False, thinking=False, reasoning_effort="high"),
    "thinking and tools": context([HELLO, call(ARGUMENTS, reasoning_content="Ask."), RESULT,
                                   call({}, thinking="Again.", reasoning="Again."), RESULT, REPLY], False,
                                  tools=[WEATHER]),
    "documents": context([HELLO], documents=[{"title": "A", "text": "alpha"}, {"title": "B", "text": "beta"}]),
    "two users": context([HELLO, THANKS]),
    "other role": context([HELLO, {"role": "narrator", "content": "Meanwhile"}]),
    "empty": context([]),
    "snippets": {
        "n": 7, "f": 2.5, "t": True, "nil": None, "s": "Hello, World", "u": "Grüße 世界 🙂", "e": "",
        "words": ["pear", "Apple", "fig", "apple"], "nums": [3, 1, 2, 3], "none_list": [],
        "d": {"b": 2, "a": 1, "C": 3}, "nested": {"x": {"y": [10, {"z": "deep"}]}, "items": "shadowed"},
        "people": [{"name": "Ann", "age": 30}, {"name": "bob", "age": 25, "tag": "x"}, {"name": "Cy", "age": 30}],
        "text": "one\ntwo\r\n\n  three", "html": "<a href='x'>\"&\"</a>", "mixed": [1, "a", None, True, 2.0, [1], {"k": 'v"\''}],
    },
}

SNIPPETS = r"""
{{ 1 + 2 * 3 - 4 }} {{ 7 / 2 }} {{ 8 / 2 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }}
{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1e3 }} {{ 1e16 }} {{ 1e15 }} {{ 1.5e-5 }} {{ 0.0001 }} {{ 0.1 + 0.2 }} {{ 1_000 }} {{ 100.0 }} {{ 123456789.125 }}
{{ -2 ** 2 }} {{ -f }} {{ +t }} {{ - n | abs }} {{ t + 1 }} {{ f * 2 }} {{ n - f }} {{ 'ab' * 3 }} {{ 2 * [1, 2] }} {{ 0 * 'x' }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ (1, 2) == (1, 2) }} {{ [1] == (1,) }} {{ none == none }}
{{ n if t else 'x' }} {{ 'y' if not t }} {{ 1 if false else 2 if false else 3 }} {{ (1 if e else 2) + 1 }}
{{ t and n }} {{ e or 'alt' }} {{ not e and not nil }} {{ nil or e or 0 }} {{ not n == 7 }} {{ not 1 in nums }}
{{ 1 in nums }} {{ 'a' in d }} {{ 'ell' in s }} {{ 5 not in nums }} {{ 'x' not in 'abc' }} {{ nil in mixed }} {{ 1 in (1, 2) }}
{{ 'a' ~ 1 ~ none ~ 2.5 ~ [1, 'b'] ~ true }} {{ 'a' 'b' "c" }} {{ 'x' + 'y' ~ 'z' }}
{{ '\n\t\\\'\"' }}|{{ "\x41\u00e9\U0001F642\101" }}|{{ '\q' }}|{{ 'a\
b' }}
{{ mixed }} {{ d }} {{ (1,) }} {{ () }} {{ [] }} {{ {} }} {{ nested }} {{ u }} {{ [u] }} {{ ["it's", 'say "x"', "both ' and \"", "tab\t", "\x7f\u200b"] }}
{{ missing }}|{{ missing is defined }}|{{ missing | default('d') }}|{{ nil | default('d') }}|{{ nil | default('d', true) }}|{{ e | d('x', boolean=true) }}|{{ d.missing is undefined }}|{{ [missing] }}
{{ missing.attr }}
{{ missing['attr'] }}
{{ missing() }}
{{ missing + 1 }}
{{ missing < 1 }}
{{ d.missing.more }}
{{ nil.x }}|{{ nil.x is defined }}
{{ s.missing }}|{{ n.missing }}|{{ nums[10] }}|{{ nums['x'] }}|{{ s[100] }}
{{ d.b }} {{ d['b'] }} {{ d.get('a') }} {{ d.get('z') }} {{ d.get('z', 9) }} {{ nested.x.y.1.z }} {{ nested.x.y[1]['z'] }} {{ nested['items'] }} {{ nested.items is string }}
{% for k, v in nested.items() %}{{ k }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for v in d.values() %}{{ v }}{% endfor %}{{ d.keys() | list }}{{ d | items | list }}{{ d | dictsort }}
{{ nums[0] }} {{ nums[-1] }} {{ nums[1:] }} {{ nums[:-1] }} {{ nums[::-1] }} {{ nums[::2] }} {{ nums[5:] }} {{ nums[-2:] }} {{ nums[3:1:-1] }} {{ (1, 2, 3)[1:] }}
{{ u[0] }} {{ u[-1] }} {{ u[6:8] }} {{ u[::-1] }} {{ u[2:5] }} {{ s[-5:] }} {{ s[:5] }} {{ u | length }} {{ u[7] }} {{ u[1:9:3] }} {{ s[10:2] }}|{{ s[:-100] }}|{{ s[-100:100] }}
{{ s.upper() }} {{ s.lower() }} {{ u.upper() }} {{ 'hello wORLD it\'s' | title }} {{ "hello wORLD it's 3rd-place (ok) [yes]".title() }} {{ "hello wORLD it's 3rd-place (ok) [yes]" | title }} {{ 'hELLO World' | capitalize }} {{ e | capitalize }} {{ s.swapcase() }}
{{ '  x  '.strip() }}|{{ '  x  '.lstrip() }}|{{ '  x  '.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ '\n\t a\u00a0'.strip() }}|{{ 'abcba'.lstrip('ab') }}|{{ '  y ' | trim }}|{{ '--y-' | trim('-') }}|{{ 'éaé'.strip('é') }}
{{ 'a,b,,c'.split(',') }} {{ 'a,b,,c'.split(',', 1) }} {{ 'a,b,,c'.rsplit(',', 1) }} {{ ' a  b c '.split() }} {{ ' a  b c '.split(none, 1) }} {{ ' a  b c '.rsplit(none, 1) }} {{ ''.split() }} {{ ''.split(',') }} {{ 'abc'.split('abc') }} {{ 'aXXbXXc'.rsplit('XX') }}
{{ 'a.b.c'.partition('.') }} {{ 'a.b.c'.rpartition('.') }} {{ 'abc'.partition('.') }} {{ 'abc'.rpartition('.') }}
{{ s.startswith('Hell') }} {{ s.startswith(('x', 'H')) }} {{ s.endswith('d') }} {{ s.endswith('Hello', 0, 5) }} {{ s.startswith('World', 7) }} {{ ''.startswith('') }}
{{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('z') }} {{ u.find('世') }} {{ s.find('o', 5) }} {{ s.index('W') }} {{ s.count('l') }} {{ s.count('') }} {{ 'aaa'.count('aa') }} {{ s.find('', 50) }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ 'abc'.replace('', '-') }} {{ 'ab'.replace('', '-', 2) }} {{ s | replace('o', 0) }} {{ s | replace('o', '', 1) }} {{ 'aaa'.replace('aa', 'b') }}
{{ ', '.join(['a', 'b']) }} {{ nums | join }} {{ nums | join(', ') }} {{ people | join('/', attribute='name') }} {{ [1, none, 'x', missing] | join('-') }} {{ 'abc' | join('.') }}
{{ 'one\ntwo\r\nthree\n'.splitlines() }} {{ text.splitlines(true) }} {{ ''.splitlines() }} {{ 'a\x0bb\x1cc\u2028d'.splitlines() }}
{{ '12'.isdigit() }} {{ '1a'.isdigit() }} {{ ''.isdigit() }} {{ 'ab'.isalpha() }} {{ 'é世'.isalpha() }} {{ 'a1'.isalnum() }} {{ ' \n'.isspace() }} {{ 'AB'.isupper() }} {{ 'ab1'.islower() }} {{ '1'.islower() }} {{ '½'.isnumeric() }} {{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ 'a'.isascii() }}
{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('c') }} {{ 'abc'.removeprefix('x') }} {{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ 'ab'.center(7) }}|{{ 'ab'.center(5, '*') }}|{{ 'abc'.center(6, '*') }}|{{ 'ab'.ljust(4) }}|{{ 'ab'.rjust(4, '.') }}|{{ 'ü' | center(5) }}|
{{ '{} and {}'.format(1, 'x') }} {{ '{1}{0}{{}}'.format('a', 'b') }} {{ '{name}'.format(name='N') }} {{ '%s-%d-%05.2f-%x-%r-%%' % ('a', 3, 2.5, 255, 'q') }} {{ '%s' % n }} {{ '%(k)s' % {'k': 1} }} {{ "%5s|%-5s|%.2s" | format('ab', 'cd', 'xyz') }} {{ '%+d % d %03d' % (1, 2, 3) }}
{{ words | sort }} {{ words | sort(true) }} {{ words | sort(case_sensitive=true) }} {{ nums | sort }} {{ people | sort(attribute='age') | map(attribute='name') | list }} {{ people | sort(attribute='age,name') | map(attribute='name') | join(' ') }} {{ people | sort(reverse=true, attribute='age') | map(attribute='name') | join(' ') }}
{{ words | unique | list }} {{ words | unique(case_sensitive=true) | list }} {{ nums | unique | list }} {{ people | unique(attribute='age') | map(attribute='name') | list }}
{{ nums | first }} {{ nums | last }} {{ s | first }} {{ none_list | first }}| {{ nums | reverse | list }} {{ s | reverse }} {{ nums | sum }} {{ people | sum(attribute='age') }} {{ [1.5, 2] | sum(start=10) }} {{ nums | min }} {{ nums | max }} {{ words | min }} {{ words | max }} {{ none_list | max }}| {{ people | max(attribute='age') }}
{{ people | map(attribute='tag', default='-') | list }} {{ words | map('upper') | list }} {{ words | map('replace', 'p', 'P') | join(',') }} {{ [' a ', 'b '] | map('trim') | list }}
{{ people | map(attribute='tag') | list }} {{ [1, 0, '', 'x', none] | select | list }} {{ [1, 0, '', 'x'] | reject | list }} {{ nums | select('odd') | list }} {{ nums | reject('equalto', 3) | list }} {{ nums | select('>', 1) | list }} {{ nums | select('in', [1, 2]) | list }}
{{ people | selectattr('age', 'equalto', 30) | map(attribute='name') | list }} {{ people | rejectattr('tag') | list | length }} {{ people | selectattr('tag', 'defined') | map(attribute='name') | list }} {{ people | rejectattr('age', 'gt', 26) | map(attribute='name') | first }}
{{ nums | batch(3) | list }} {{ nums | batch(3, 0) | list }} {% for age, group in people | groupby('age') %}{{ age }}:{{ group | map(attribute='name') | join('+') }};{% endfor %}
{{ d | dictsort(true) }} {{ d | dictsort(by='value') }} {{ d | dictsort(reverse=true) }} {{ d | length }} {{ s | length }} {{ s | count }} {{ missing | length }} {{ d | list }} {{ s | list }} {{ missing | list }}
{{ '42' | int }} {{ ' 42 ' | int + 1 }} {{ '4.9' | int }} {{ 'x' | int }} {{ 'x' | int(5) }} {{ 4.9 | int }} {{ -4.9 | int }} {{ 'ff' | int(base=16) }} {{ '1e3' | int }} {{ '1_0' | int }} {{ none | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ 'x' | float(1.5) }} {{ 3 | float }} {{ t | int }} {{ '' | int }} {{ 'inf' | float }}
{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 2.1 | round(method='ceil') }} {{ 2.9 | round(0, 'floor') }} {{ 5 | round }} {{ 1234.5678 | round(1) }} {{ -2.5 | round }} {{ -5 | abs }} {{ -5.5 | abs }} {{ 1.25 | round(1) }}
{{ text | indent }} {{ text | indent(2, true) }} {{ text | indent(width='> ', blank=true) }} {{ '' | indent(2, first=true) }}| {{ 'one' | indent }}
{{ html | e }} {{ html | escape }} {{ html | safe }} {{ html | safe + '<' }} {{ '<' + ('>' | safe) }} {{ html | e | e }} {{ html | forceescape }} {{ '<' ~ ('>' | safe) ~ '&' }} {{ 'a' | safe is escaped }} {{ [html | safe] }}
{{ d | tojson }} {{ mixed | tojson }} {{ mixed | tojson(indent=2) }} {{ [] | tojson(indent=4) }} {{ {} | tojson }} {{ u | tojson }} {{ u | tojson(ensure_ascii=true) }} {{ html | tojson }} {{ d | tojson(sort_keys=true, separators=(',', ':')) }} {{ [1.0, 1e20, 1.5e-7, 0.1] | tojson }} {{ (1, 2) | tojson }} {{ {1: 2, none: 3, true: 4} | tojson }} {{ '\x00\x1f\x7f\u2028/\\' | tojson }} {{ {'a': {'b': []}} | tojson(indent=1) }} {{ [1, [2]] | tojson(indent='--') }}
{{ n is defined }} {{ n is number }} {{ t is number }} {{ t is integer }} {{ n is integer }} {{ f is float }} {{ s is string }} {{ s is sequence }} {{ d is mapping }} {{ d is sequence }} {{ d is iterable }} {{ n is iterable }} {{ nums is iterable }} {{ nil is none }} {{ nil is not none }} {{ t is true }} {{ t is boolean }} {{ n is true }} {{ missing is none }} {{ missing is iterable }} {{ missing is sequence }} {{ missing is string }} {{ range is callable }} {{ s.upper is callable }}
{{ 3 is odd }} {{ 4 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }} {{ 'ab' is lower }} {{ 'AB' is upper }} {{ 1 is in [1, 2] }} {{ 1 is eq 1 }} {{ 2 is ne 1 }} {{ 2 is gt 1 }} {{ 2 is le 1 }} {{ n is equalto 7 }} {{ 1 is sameas 1 }} {{ true is sameas true }} {{ 1 is sameas true }} {{ n is not string }} {{ not n is string }} {{ n is defined and s is string }} {{ 'upper' is filter }} {{ 'odd' is test }}
{% for x in nums %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x) }};{% endfor %}
{{ none | map('upper') | list }} {{ none | selectattr('x') | list }} {{ '' | select | list }} {{ 0 | reject | list }}
{% for x in none_list %}x{% else %}empty{% endfor %} {% for x in missing %}x{% else %}nothing{% endfor %} {% for x in nums if x > 2 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% else %}none{% endfor %} {% for x in nums if x > 9 %}{% else %}none{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %} {% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %} {% for c in 'añb' %}{{ c }}.{% endfor %} {% for x in range(3) %}{% for y in range(x) %}{{ loop.index }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x > 4 %}{% break %}{% endif %}{{ x }}{% endfor %} {% for x in [1, 2] %}{{ x }}{% break %}{% else %}no{% endfor %}
{% set x = 1 %}{% for i in nums %}{% set x = i %}{{ x }}{% endfor %}{{ x }} {% if true %}{% set x = 5 %}{% endif %}{{ x }} {% for i in [1, 2] %}{{ y }}{% set y = i %}{{ y }}{% endfor %}|{{ y }}
{% for i in [] %}{% else %}{% set w = 1 %}{{ w }}{% endfor %}{{ w }}|{% set w %}{% set v = 2 %}{{ v }}{% endset %}{{ w }}{{ v }}|{% generation %}{% set v = 3 %}{% endgeneration %}{{ v }}
{% set ns = namespace(a=1, b=[]) %}{% for i in nums %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }} {% set ns.c = 'new' %}{{ ns.c }} {{ ns.missing }}| {% set a, b = 1, 2 %}{{ a }}{{ b }} {% set (p, q) = [3, 4] %}{{ p }}{{ q }} {% set one = 1, %}{{ one }}
{% set block %} a {{ n }} {% endset %}[{{ block }}] {% set up | upper %}abc{% endset %}{{ up }} {% set deco | trim | replace('b', 'B') %} abc {% endset %}{{ deco }}|{% filter upper | trim %} x{{ n }}y {% endfilter %}|
{% macro m(a, b='B', c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(1, c=3) }}{{ m() }}{{ m(b=1, a=2) }}{{ m(*[1, 2, 3]) }}{{ m(**{'a': 'x'}) }}
{% macro v() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ v(1, 2, k=3) }} {% macro r(x) %}{{ x }}{% if x > 0 %}{{ r(x - 1) }}{% endif %}{% endmacro %}{{ r(3) }} {% macro late() %}{{ z }}{% endmacro %}{% set z = 'set later' %}{{ late() }} {% set result = r(1) %}{{ result ~ '!' }} {{ r(1) | upper }} {{ late is callable }}
{% macro box(t) %}<{{ t }}:{{ caller() }}>{% endmacro %}{% call box('x') %}in {{ n }}{% endcall %} {% macro each(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(item, i) each(nums) %}{{ i }}={{ item }} {% endcall %}{% macro opt() %}{% if caller %}yes{% else %}no{% endif %}{% endmacro %}{{ opt() }}{% call opt() %}{% endcall %}
{% macro scope() %}{{ n }}{% set n = 1 %}{{ n }}{% endmacro %}{{ scope() }}{{ n }} {% for n in [1] %}{{ n }}{% endfor %}{{ n }} {% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}| {% generation %}gen {{ n }}{% endgeneration %}
{{ range(3) | list }} {{ range(1, 4) | list }} {{ range(5, 0, -2) | list }} {{ range(0) | list }} {{ dict(a=1, b=2) }} {{ dict([('x', 1)], y=2) }} {{ namespace(a=1).a }} {% set j = joiner('; ') %}{% for x in nums %}{{ j() }}{{ x }}{% endfor %}
{% raw %}{{ not }} {% this %}{% endraw %} {%- raw -%}  a  {%- endraw -%}  b {# comment #} c {#- strip -#} d
a {%- if true %} b {% endif -%} c {{- 1 -}} d {{ 2 }} e
  {% if true %}x{% endif %}  {% if true %}y{% endif %}
line {{+ 1 }} {%+ if true +%} x {%+ endif %}
{{ strftime_now('%Y-%m-%d %H:%M') }} {{ strftime_now is defined }}
{{ raise_exception('No: ' ~ n) }}
{{ 'x' | nosuchfilter }}
{{ 'x' is nosuchtest }}
{{ 1 / 0 }}
{{ s.split('') }}
{% for a, b in [[1, 2, 3]] %}{% endfor %}
{{ nums[0.5] }}|{{ {1: 'one', 'k': 2}[1] }}|{{ {'a': 1,}.a }}|{{ [1, 2,] }}|{{ d['b'] if d.b is defined else 'x' }}|{{ (d.b) }}|{{ d | attr('missing') }}
{{ d.items() | list }} {{ 1 if 2 is defined else 3 }} {{ 'a' if e else 'b' ~ 'c' }}
{{ [x for x] }}
{{ '%s' | format(missing) }}|{{ missing ~ 'x' }}|{{ missing | upper }}|{{ missing | trim }}|{{ nil | trim }}|{{ n | string + 'x' }}|{{ nil | string }}|{{ n | upper }}|{{ true | lower }}
{{ people[0].name[0] }}{{ people[-1]['name'][1:] }}{{ (people | first).age + 1 }}{{ people | length > 2 }}{{ people | length - 1 }}{{ 'x' if people | length == 3 }}
{{ 10 | string | length }} {{ '1,2' | replace(',', '.') | float }} {{ 'x,y'.split(',')[1] | upper }} {{ 'x' in 'xyz' and 'y' not in ['x'] }} {{ 'a' < 'B' }} {{ 'a b' | wordcount }} {{ [[1, 2], [3]] | sum(start=[]) }} {{ [3, 1] | sort | first }}
{% if words | select('equalto', 'zzz') %}generator{% endif %} {% if words | map('upper') | list %}list{% endif %} {% if {} %}{% elif d %}dict{% endif %} {{ 'yes' if 0.0 else 'no' }} {{ '' is defined }} {{ words | reverse is sequence }} {{ d.items() is iterable }}
{% set l = [1] %}{% set _ = l.append(2) %}{{ l }} {% set m = {'a': 1} %}{% set _ = m.update({'b': 2}) %}{{ m }} {{ m.pop('a') }} {{ m }} {{ l.pop() }} {{ l.pop(0) }} {{ l }} {% set k = [3, 1, 2] %}{{ k.index(1) }} {{ k.count(3) }} {% set _ = k.insert(1, 9) %}{{ k }} {% set _ = k.extend([4]) %}{% set _ = k.reverse() %}{{ k }} {{ m.setdefault('z', 5) }} {% set _ = k.sort() %}{{ k }} {% set _ = k.remove(9) %}{{ k }}
""".strip("\n")


def snippets():
    """Paragraphs of the list above: a line ending in a backslash goes on."""
    lines, out = SNIPPETS.split("\n"), []
    while lines:
        line = lines.pop(0)
        while line.endswith("\\"):
            line += "\n" + lines.pop(0)
        out.append(line)
    return out + [
        "{% if true %}\n  a\n  {% if false %}\n  b\n  {% else %}\n  c\n  {% endif %}\n{% endif %}\n\n",
        "  {%- if true %}\n\tx {# c #}\n  {# c #}\n  y\n{%- endif %}\n  z\n",
        "{% for x in [1, 2] %}\n    {{ x }}\n{% endfor %}\r\n  {{ 1 }}\r\nend\r\n",
        "a\n\n  {%+ if true %}\n  b\n  {%+ endif +%}\n c",
        "{% raw %}\n  {{ x }}\n  {% endraw %}\n  after",
        "{{ {'a': {'b': 1}} }}{{ {'a': {'b': {}}}['a'] }}",
        "{{ 'multi\nline' }} {{\n1\n+\n2\n}}",
        "{%- set x = 'a' -%}\n\n  {{- x }}\n{# a\nb #}\n{{ x -}}  \n  b",
        "\n\n  {% set x = 1 %}\n\n  {{ x }}\n\n",
        "{% macro a() %}\n  x\n{% endmacro %}\n{{ a() }}|\n{%- set x = a() %}{{ x }}",
        "x{#-#}y {#+ c +#}\nz",
    ]


def delta(before, text):
    a, b = before.encode(), text.encode()
    head = os.path.commonprefix([a, b])
    while head and b[len(head):len(head) + 1] and b[len(head)] & 0xc0 == 0x80:
        head = head[:-1]
    n, tail = len(head), 0
    while tail < min(len(a), len(b)) - n and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    while tail and b[len(b) - tail] & 0xc0 == 0x80:
        tail -= 1
    return [n, b[n:len(b) - tail].decode(), tail]


def templates(directory):
    result = {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), encoding="utf-8", newline="") as f:
            source = f.read()
        before, result[name] = "", []
        for key, variables in CONTEXTS.items():
            if key == "snippets":
                continue
            got = outcome(source, variables)
            if isinstance(got, str):
                result[name].append([key, delta(before, got)])
                before = got
            else:
                result[name].append([key, got])
    return result


def differing(path, template):
    with open(path, encoding="utf-8") as f:
        cases = json.load(f)
    got = {c["id"]: outcome(c[template], {"now": NOW, **c["context"]}) for c in cases}
    return {c["id"]: got[c["id"]] for c in cases if got[c["id"]] != c["expected"]}


def main():
    data = os.path.join(sys.argv[1], "chat_templates")
    result = {
        "contexts": CONTEXTS,
        "templates": templates(os.path.join(data, "templates")),
        "unit": differing(os.path.join(data, "jinja_unit_cases.json"), "template"),
        "real": differing(os.path.join(data, "real_template_cases.json"), "chat_template"),
        "snippets": [[s, outcome(s, {**CONTEXTS["snippets"], "now": NOW})] for s in snippets()],
    }
    result["contexts"]["snippets"]["now"] = NOW
    json.dump(result, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


main()
