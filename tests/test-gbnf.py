#!/usr/bin/env python3
"""Grammars in GBNF, and regular expressions, against Python's own: what a grammar allows is what the expression beside it
matches, text by text; what a recursive one allows is what json, ast, or a few lines here take."""

import ast
import json
import random
import re
import sys

sys.dont_write_bytecode = True
from walker import ask, check, failures, finish  # noqa: E402

WALKS, TEXTS, MUTANTS = 40, 300, 600

rng = random.Random(3)


# What both sides have, as one regular expression.
REGEXES = [
    "abc", "", "a|b|", "(a|b)*c?", "[a-c]{2,4}", r"\d+(\.\d{1,2})?", "^ab$", "^a|b$", "[^ab]+", "a.c", "(?:ab)+?", "(?<x>a)b",
    r"\w+-\w+", r"[\d.-]*", "é+|ü", "[à-ü]{2}", r"a{0}b{3}", "((a|b)(c|)){2}", r"\x61\u00e9", r"\(\[\]\)", "a{2,}", '"[^"]"', r"\\\.|\t",
]
# Where Python's classes are wider or narrower than others': texts that match by all.
AGREED = [
    (r"\S+", ["é", "zoë"]), (r"[\s\S]{2}", ["é\n", "  "]), (r"[^\s]+@[^\s,]+", ["zoë@x"]), (r"\D{2}", ["éa", "中\n"]), (r"\W", ["-", "\n"]),
    (r"[^\S]", [" ", "\t"]), (r"[^\w]+", ["--"]), (r"[^\D]", ["7"]), ("(?P<n>a)", ["a"]), (r"\d\w\s", ["1a "]),
]
PATTERNS_REFUSED = [
    ("(a", "a ( without its )"), ("a)", "a ) without its ("), ("[a", "a [ without its ]"), ("*a", "repeats nothing"), (r"\ba", "not supported"),
    ("(?=a)b", "assertion"), ("a{2,1}", "no number of repetitions"), ("a{99999}", "more than 1000 repetitions"), ("a" * 1002, "more than 1000 parts"), ("a\0b", "has a NUL byte"), ("[b-a]", "ends before"), (r"\x6", "hexadecimal"),
]

# A grammar, and the same as a regular expression of Python's.
GRAMMARS = [
    ('root ::= "abc"', "abc"),
    ('root ::= "a" | "b" |', "a|b|"),
    ('root ::= a* "c"?\na ::= "a" | "b"', "(a|b)*c?"),
    ("root ::= [a-c]{2,4}", "[a-c]{2,4}"),
    ("root ::= [a-c] {2}", "[a-c]{2}"),
    ('root ::= ("ab" | [0-9]+ ) "." # done\n', r"(ab|[0-9]+)\."),
    ('# before\nroot ::=\n  "a"\n\n  | "b"\n# between\n  | word\n\nword ::= "c" "d"', "a|b|cd"),
    ('root ::= (\n "a"\n "b" | "c"\n)+', "(ab|c)+"),
    (r'root ::= "\"\\\x61\u00e9\n"', '"\\\\aé\n'),
    (r"root ::= [^\]a-]+", r"[^\]a-]+"),
    (r"root ::= [\[\]]{1,}", r"[\[\]]+"),
    ("root ::= [-a]{0,2}", "[-a]{0,2}"),
    ('root ::= "a\n" [b\n]', "a\n[b\n]"),
    ('\ufeffroot ::= # one\r"a" # two\r\n', "a"),
    ("root ::= . .", "(?s:..)"),
    ('root ::= "é"* [à-ü]', "é*[à-ü]"),
    ('root ::= "ab"+', "(ab)+"),
    ('root ::= "a"?+', "(a?)+"),
    ('root ::= x-1_Y\r\nx-1_Y ::= "a"\r\n', "a"),
    ('root ::= "a" root | "b"', "a*b"),
    ('root ::= a b c\na ::= b\nb ::= c | "b"\nc ::= "c"?', "[bc]?[bc]?c?"),
    (r'root ::= "\U0001F600" | "\t"', "\U0001f600|\t"),
    ("root ::= ((((((((\"a\"))))))))", "a"),
    ('root ::= "a"{0} "b"{1} "."{0,0}', "b"),
    ("root ::= [^a-fb-c0]{1,2}", "[^a-fb-c0]{1,2}"),
    ("root ::= x0\n" + "".join(f"x{i} ::= x{i + 1} | x{i + 1}\n" for i in range(60)) + 'x60 ::= "a"', "a"),
]
JSON = r"""
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (pair ("," ws pair)*)? "}" ws
pair   ::= string ":" ws value
array  ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= "-"? ("0" | [1-9] [0-9]{0,8}) ("." [0-9]{1,5})? ([eE] [-+]? [0-9]{1,2})? ws
ws     ::= [ \n\t]{0,3}
"""
SUMS = 'root ::= term ([-+*] term)*\nterm ::= [1-9] [0-9]* | "(" root ")"'
BRACKETS = 'root ::= one*\none ::= "(" root ")" | "[" root "]"'


def balanced(text):
    while "()" in text or "[]" in text:
        text = text.replace("()", "").replace("[]", "")
    return text == ""


def parses(parse):
    def does(text):
        try:
            parse(text)
            return True
        except (ValueError, SyntaxError):
            return False

    return does


RECURSIVE = [
    (JSON, parses(json.loads), ['{"a": [1, -2.5e3, {"b": null}], "\\u00e9": "x"}', "{}"], ["[]", '{"a": 01}', '{"a" 1}', "{", '{"a":"\n"}']),
    (SUMS, parses(lambda t: ast.parse(t, mode="eval")), ["1+23*(4-5)", "((7))"], ["1+", "(1", "01", "1 + 2"]),
    (BRACKETS, balanced, ["([]())[]", ""], ["([)]", "(", "]["]),
]
REFUSED = [
    ("", "line 1: there is no rule root"),
    ('word ::= "a"', "there is no rule root"),
    ('root ::= "a', 'line 1: a text without its closing "'),
    ('root ::= "a\nb', 'line 1: a text without its closing "'),
    ("root ::= [a-", "line 1: a class without its closing ]"),
    ("root ::= [a", "line 1: a class without its closing ]"),
    ("root ::= [b-a]", "a range that ends before it begins"),
    ('root ::= "a"\n\nword = "b"', "line 3: ::= is missing after word"),
    ("root ::= word", "line 1: there is no rule word"),
    ('root ::= "a" ("b"\nword ::= "c"', "line 1: a ( without its )"),
    ('root ::= "a")', "line 1: what is meant by ')'"),
    ('root ::= "a"\nroot ::= "b"', "line 2: the rule root is there already"),
    (r'root ::= "\q"', "an escape that is none of"),
    (r'root ::= "\ud800"', "an escape that is none of"),
    ('root ::= "a"{x}', "no number of repetitions"),
    ('root ::= "a"{3,2}', "no number of repetitions"),
    ('root ::= "a"{999999}', "more than 100000 repetitions"),
    ("root ::= <[7]>", "tokens, as in <[1]>, are not supported"),
    ("root ::= root", "line 1: the rule root can begin with itself"),
    ('root ::= root "a" | "b"', "the rule root can begin with itself"),
    ('root ::= y+ root "a" | "b"\ny ::= "c"?', "the rule root can begin with itself"),
    ('root ::= "a"\nx ::= "a"? [b]* y\ny ::= ("c" | x "d"){0,3}', "line 2: the rule"),
    ('root ::= "a" root', "nothing can match it"),
    ("root ::= []", "nothing can match it"),
    ("root ::= " + "(" * 70 + '"a"' + ")" * 70, "too many brackets in one another"),
    ('::= "a"', "line 1: the name of a rule is missing"),
    ('root ::= "a"\0', "has a NUL byte"),
]


def some_texts(regex):
    """From its own characters, so that some match."""
    letters = sorted({*re.sub(r"\\.|[|()*+?{}^$]", "", regex), *"ab01.-", "é"})
    return ["".join(rng.choices(letters, k=rng.randrange(7))) for _ in range(TEXTS)]


def compare(kind, text, regex):
    texts = some_texts(regex)
    got = ask(kind=kind, text=text, seed=1, count=WALKS, texts=texts)
    check("error" not in got, f"{kind} {text!r}: {got.get('error')}")
    matches = re.compile(regex, re.ASCII).fullmatch
    for walk in got["walks"]:
        check(walk is not None and matches(walk), f"{kind} {text!r} leads to {walk!r}")
    for candidate, accepted in zip(texts, got["accepted"]):
        check(accepted == bool(matches(candidate)), f"{kind} {text!r}: {candidate!r} is {'' if accepted else 'not '}accepted")
    return sum(got["accepted"])


def python_regex(ecma):
    return ecma.replace("(?<", "(?P<").replace("^a|b$", "a|b")


accepted = sum(compare("regex", r, python_regex(r)) for r in REGEXES) + sum(compare("gbnf", g, r) for g, r in GRAMMARS)
check(accepted > 500, f"only {accepted} texts matched anything")
for text, yes in AGREED:
    got = ask(kind="regex", text=text, seed=4, count=10 * WALKS, texts=yes)
    check(got.get("accepted") == [True] * len(yes), f"regex {text!r}: {got}")
    for flags in (0, re.ASCII):
        for walk in got["walks"]:
            check(walk is not None and re.fullmatch(text, walk, flags), f"regex {text!r} leads to {walk!r}")
for text, valid, yes, no in RECURSIVE:
    got = ask(kind="gbnf", text=text, seed=2, count=10 * WALKS, texts=yes + no)
    check(got["accepted"] == [True] * len(yes) + [False] * len(no), f"{text}: {got.get('error', got['accepted'])}")
    walks = [w for w in got["walks"] if w is not None]
    check(len(walks) > WALKS, f"{text}: {len(walks)} walks came to an end")
    for walk in walks:
        check(valid(walk), f"{text} leads to {walk!r}")
for kind, refused in (("gbnf", REFUSED), ("regex", PATTERNS_REFUSED)):
    for text, words in refused:
        error = ask(kind=kind, text=text, seed=1, count=1, texts=[]).get("error", "")
        check(words in error, f"{kind} {text!r}: {error!r} does not say {words!r}")

# Whatever is written, there is an answer.
for i in range(MUTANTS):
    text = rng.choice([g for g, _ in GRAMMARS] + [JSON, SUMS, BRACKETS])
    for _ in range(rng.randrange(1, 4)):
        at, n = rng.randrange(len(text) + 1), rng.randrange(4)
        text = text[:at] + rng.choice(["", '"', "(", ")", "[", "]", "|", "*", "{2,", "}", "root", "::=", "\\", "\n", "é", text[:20]]) + text[at + n :]
    got = ask(kind="gbnf", text=text, seed=i, count=2, texts=[text])
    check("error" in got or len(got["walks"]) == 2, f"{text!r}: no answer")

print(f"{len(REGEXES)} expressions, {len(GRAMMARS) + len(RECURSIVE)} grammars, {accepted} texts matched, {MUTANTS} mutants; {len(failures)} failures")
finish()
