#!/usr/bin/env python3
"""Grammars of JSON schemas against python3-jsonschema: whatever way a grammar allows leads to a text that is valid by the
schema, and texts that a model would write are not ruled out."""

import glob
import json
import os
import random
import re
import sys

try:
    import jsonschema
except ImportError:
    print("SKIP: there is no python3-jsonschema")
    sys.exit(77)

sys.dont_write_bytecode = True
from walker import ask, check, failures, finish  # noqa: E402

SRC = os.path.abspath(os.environ.get("top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")))
DATA = os.environ.get("ZEROLLAMA_TEST_DATA", os.path.join(SRC, "..", "shared", "data"))
WALKS = 60



def is_valid(schema, text):
    try:
        jsonschema.validate(json.loads(text), schema)
        return True
    except ValueError:
        return False
    except jsonschema.ValidationError:
        return False
    except RecursionError:  # jsonschema does not come to an end; the walks then say nothing
        return True


# Schemas, texts that their grammar must have, and texts it must not have although they are JSON.
NODE = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/node"}}, "required": ["v"]}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 5},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "mail": {"type": ["string", "null"]},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
CASES = [
    (True, ["1", '{"a": [1, 2]}', '"x"'], []),
    ({}, ["null", "[]", "{}"], []),
    ({"type": "object"}, ['{"a":1}', "{}", '{"a": {"b": [true]}}'], ["[]", "1"]),
    (
        PERSON,
        ['{"name":"Jo","age":3}', '{"name": "Jos\u00e9e", "age": 130, "mail": null}', '{\n  "name": "ab",\n  "age": 0\n}'],
        ['{"name":"J","age":3}', '{"name":"Joseph","age":3}', '{"name":"Jo","age":131}', '{"name":"Jo"}'],
    ),
    ({"type": "object", "properties": {"a": {}, "b": {}}}, ["{}", '{"a":1}', '{"b":1}', '{"a":1,"b":2}'], ["[]"]),
    (
        {"properties": {"a": {"type": "null"}, "ab": {"type": "null"}}, "additionalProperties": {"type": "integer"}},
        ['{"a":null,"ab":null,"x":1,"abc":2,"":3,"\u00e9":4}', '{"b":1}', "{}"],
        ['{"a":1}', '{"ab":1}', '{"x":null}', '{"a":null,"a":1}', '{"\\u0061":1}'],
    ),
    ({"type": "object", "additionalProperties": {"type": "boolean"}}, ['{"a":true}', "{}"], ['{"a":1}']),
    ({"required": ["z"], "properties": {"a": {"type": "null"}}}, ['{"a":null,"z":[1]}', '{"z":1}'], ['{"a":null}']),
    ({"type": "array", "items": {"type": "integer"}}, ["[]", "[1]", "[1, 2,3]"], ['["a"]', "[1.5]"]),
    ({"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 3}, ["[null,null]", "[null,null,null]"], ["[]", "[null]"]),
    ({"type": "array", "maxItems": 0}, ["[]"], ["[1]"]),
    ({"type": "array", "items": False}, ["[]"], ["[1]"]),
    (
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": {"type": "integer"}, "minItems": 1, "maxItems": 4},
        ['["a"]', '["a",null]', '["a",null,1]', '["a", null, 1, 2]'],
        ["[]", "[1]", '["a",1]', '["a",null,1,2,3]'],
    ),
    ({"prefixItems": [{"type": "null"}], "items": False}, ["[]", "[null]"], ["[null,1]"]),
    ({"prefixItems": [{"type": "null"}], "minItems": 3}, ["[null,1,2]"], ["[null]", "[null,1]"]),
    ({"prefixItems": [{"type": "null"}, {"type": "integer"}], "maxItems": 1}, ["[]", "[null]"], ["[null,1]"]),
    ({"enum": ["red", "redder", 1, None, {"a": [1, 2.5]}, "green", ""]}, ['"red"', '"redder"', "1", "null", '{"a":[1,2.5]}', '""'], ['"blue"', '"re"', "2"]),
    ({"enum": ["a", 1], "type": "string"}, ['"a"'], ["1"]),
    ({"const": 0.1}, ["0.1"], ["0.2"]),
    ({"const": "\u00e9\"\\\n\u2028"}, ['"\u00e9\\"\\\\\\n\u2028"'], []),
    ({"type": "integer"}, ["0", "-5", "1234567890"], ["1.5", '"1"']),
    ({"type": "integer", "minimum": -17, "maximum": 205}, ["-17", "-9", "-1", "0", "9", "99", "100", "199", "205"], ["-18", "-20", "206", "300", "1000"]),
    ({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 101}, ["10", "100", "55"], ["9", "101", "-10"]),
    ({"type": "integer", "minimum": 1.5, "maximum": 3.5}, ["2", "3"], ["1", "4"]),
    ({"type": "integer", "maximum": -3}, ["-3", "-12345"], ["-2", "0", "5"]),
    ({"type": "integer", "minimum": 1000}, ["1000", "99999"], ["999", "-1000"]),
    ({"type": "number"}, ["1", "-1.5", "2e10", "0.25E-3"], ['"1"']),
    ({"type": "number", "minimum": 0, "maximum": 1}, ["0", "1", "0.5", "0.0", "1.00"], ["1.01", "-0.1", "2"]),
    ({"type": "number", "exclusiveMinimum": 0}, ["0.1", "1", "17.25"], ["0", "0.0", "-1"]),
    ({"type": "number", "minimum": -2, "exclusiveMaximum": 3}, ["-2", "-1.5", "0", "2.99"], ["3", "-2.1", "3.0"]),
    ({"type": "number", "exclusiveMaximum": 0, "minimum": -1}, ["-0.5", "-1"], ["0", "-1.1", "0.1"]),
    ({"type": "string", "minLength": 1, "maxLength": 2}, ['"a"', '"\u00e9\u00e9"', '"\\u00e9\\n"', '"\U0001f600"', '"\\ud83d\\ude00a"'], ['""', '"abc"']),
    ({"type": "string", "pattern": "^[a-z]+_\\d{2,3}$"}, ['"ab_12"', '"x_123"'], ['"ab_1"', '"AB_12"', '"ab_1234"']),
    ({"type": "string", "pattern": "b\\.c"}, ['"b.c"', '"aab.cd"'], ['"bxc"', '""']),
    ({"type": "string", "pattern": "^(cat|dog)s?$|^\"$"}, ['"cat"', '"dogs"', '"\\""'], ['"cow"', '"cats "']),
    ({"type": "string", "pattern": "^[^a-c\\s]*$"}, ['"xyz"', '""', '"d-e"'], ['"a"', '"x y"']),
    ({"type": "string", "pattern": "^(?:a|b){2}.?$"}, ['"ab"', '"ba\u00e9"'], ['"a"', '"abcd"']),
    ({"type": "string", "pattern": "^\\w+@\\S+\\.[a-z]{2,}$"}, ['"me@x.org"'], ['"me@x"']),
    ({"type": "string", "format": "date"}, ['"2024-02-28"'], ['"2024-13-01"', '"24-01-01"']),
    ({"type": "string", "format": "date-time"}, ['"2024-02-28T12:00:00Z"', '"2024-02-28T23:59:59.5+02:00"'], ['"2024-02-28"']),
    ({"type": "string", "format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123"']),
    ({"type": "string", "format": "ipv4"}, ['"127.0.0.1"', '"255.255.255.255"'], ['"256.0.0.1"']),
    ({"type": "string", "format": "uri"}, ['"anything"'], []),
    ({"type": ["integer", "null"]}, ["1", "null"], ['"a"', "true"]),
    ({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "boolean"}}]}, ["1", "[true]"], ["true", "[1]"]),
    ({"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}}}, ['{"a":null}', '{"a":"x"}'], ['{"a":1}']),
    ({"type": "string", "anyOf": [{"minLength": 3}, {"maxLength": 1}]}, ['"abc"', '"a"'], ['"ab"']),
    (
        {
            "oneOf": [
                {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind"]},
                {"type": "object", "properties": {"kind": {"const": "b"}, "y": {"type": "null"}}, "required": ["kind"]},
            ]
        },
        ['{"kind":"a","x":1}', '{"kind":"b"}'],
        ['{"kind":"b","x":1}', '{"kind":"c"}'],
    ),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, ["1", '"a"'], ["null"]),
    ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "integer", "minimum": 3}}, "description": "x"}, ["3"], ["2"]),
    (
        {
            "allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"b": {"type": "null"}, "a": {"minimum": 5}}}],
            "type": "object",
        },
        ['{"a":5}', '{"a":12,"b":null}'],
        ['{"a":4}', '{"b":null}'],
    ),
    ({"allOf": [{"type": ["integer", "string"]}, {"type": ["number", "null"]}]}, ["1"], ["1.5", '"a"', "null"]),
    ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, ['{"v":1}', '{"v":1,"next":{"v":2,"next":{"v":3}}}'], ["{}", '{"v":1,"next":{}}']),
    (
        {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}, "required": ["children"]},
        ['{"children":[]}', '{"children":[{"children":[]},{"children":[]}]}'],
        ['{"children":[{}]}'],
    ),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, ["null"], ["1"]),
    ({"type": "object", "properties": {"x": False, "y": {"type": "null"}}}, ['{"y":null}', "{}"], ['{"x":1}']),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}, ["null"], ["1"]),
]

REFUSED = [
    ({"type": "object", "properties": {"x": {"not": {}}}}, "schema.properties.x.not: is not supported"),
    ({"type": "array", "uniqueItems": True}, "schema.uniqueItems"),
    ({"type": "number", "multipleOf": 3}, "schema.multipleOf"),
    ({"type": "number", "minimum": 0.5}, "schema.minimum: must be a whole number"),
    ({"type": "strin"}, "schema.type: must be a type's name"),
    ({"items": {"items": {"pattern": "(?=a)"}}}, "schema.items.items.pattern: has an assertion"),
    ({"type": "string", "pattern": "(a"}, "without its )"),
    ({"type": "string", "pattern": "a)"}, "without its ("),
    ({"type": "string", "pattern": "a{3"}, "no number of repetitions"),
    ({"type": "string", "pattern": "\\bx"}, "an escape that is not supported"),
    ({"type": "string", "pattern": "a^b"}, "elsewhere than at its ends"),
    ({"type": "string", "pattern": "^a$", "maxLength": 3}, "cannot be combined"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "schema.oneOf: a value could be both option 0 and option 1"),
    ({"$ref": "http://x/y"}, "only references within the schema"),
    ({"$ref": "#/$defs/x"}, "there is no '#/$defs/x'"),
    ({"$ref": "#"}, "nothing can match it"),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "nothing can match it"),
    ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "nothing can match it"),
    ({"enum": []}, "nothing can match it"),
    ({"enum": list(range(1001))}, "schema.enum: has 1001 values"),
    ({"minItems": -1}, "schema.minItems: must be a whole number"),
    ({"properties": {"a": 3}}, "schema.properties.a: must be a schema"),
    ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "schema.pattern: is said twice"),
    ({"enum": [1], "minimum": 0}, "other keywords besides type"),
    (3, "must be a schema"),
]


def test_cases():
    for i, (schema, ours, not_ours) in enumerate(CASES):
        told = ask(schema=schema, seed=i + 1, count=WALKS, texts=ours + not_ours)
        check("error" not in told, f"{schema}: {told.get('error')}")
        for text, accepted in zip(ours + not_ours, told["accepted"]):
            check(accepted == (text in ours), f"{schema}: {text} is {'' if accepted else 'not '}accepted")
            check(text in not_ours or is_valid(schema, text), f"{schema}: jsonschema does not take {text}")
        whole = [t for t in told["walks"] if t is not None]
        check(len(whole) > WALKS // 8 or "pattern" in schema, f"{schema}: only {len(whole)} walks came to an end")
        for text in whole:
            check(is_valid(schema, text), f"{schema}: {text!r} is not valid")


def test_refused():
    for schema, words in REFUSED:
        told = ask(schema=schema)
        check(words in told.get("error", ""), f"{schema}: {told.get('error')!r} does not say {words!r}")


# Schemas at random, of what is supported.


def some_schema(r, depth, names):
    kinds = ["object", "array", "string", "integer", "number", "enum", "null", "anyOf", "ref", "types", "allOf"]
    kind = r.choice(kinds[2:7] if depth == 0 else kinds)
    if kind == "object":
        properties = {r.choice(names): some_schema(r, depth - 1, names) for _ in range(r.randrange(4))}
        s = {"type": "object", "properties": properties, "required": [n for n in properties if r.random() < 0.5]}
        if r.random() < 0.3:
            s["additionalProperties"] = r.choice([False, True, {"type": "integer"}])
        return s
    if kind == "array":
        s = {"type": "array", "items": some_schema(r, depth - 1, names)}
        if r.random() < 0.3:
            s["prefixItems"] = [some_schema(r, depth - 1, names) for _ in range(r.randrange(1, 3))]
        low = r.randrange(3)
        return {**s, **r.choice([{}, {"minItems": low}, {"minItems": low, "maxItems": low + r.randrange(3)}])}
    if kind == "string":
        low = r.randrange(4)
        return {"type": "string", **r.choice([{}, {"minLength": low}, {"minLength": low, "maxLength": low + r.randrange(4)}, {"pattern": r.choice(["^a+$", "b", "^[a-f]{2}", "x|y$", "^[^\"\\\\]?$"])}])}
    if kind in ("integer", "number"):
        low = r.choice([0, 1, 9, 10, 99, 1234]) * r.choice([1, -1])
        high = low + r.choice([0, 1, 8, 90, 1000, 123456])
        bounds = [{}, {"minimum": low}, {"maximum": high}, {"minimum": low, "maximum": high}, {"exclusiveMinimum": low, "exclusiveMaximum": high + 2}]
        return {"type": kind, **r.choice(bounds)}
    if kind == "enum":
        return {"enum": r.sample([1, 2.5, "a", "ab", "\u00e9\"", None, True, [1], {"a": 1}, "b\\"], r.randrange(1, 5))}
    if kind == "anyOf":
        return {"anyOf": [some_schema(r, depth - 1, names) for _ in range(r.randrange(1, 4))]}
    if kind == "allOf":
        return {"allOf": [{"$ref": "#/$defs/leaf"}, {"minimum": r.randrange(5)}]}
    if kind == "ref":
        return {"$ref": "#/$defs/" + r.choice(["leaf", "tree"])}
    return {"null": {"type": "null"}, "types": {"type": ["boolean", "null"]}}[kind]


DEFS = {
    "leaf": {"type": ["integer", "null"], "maximum": 77},
    "tree": {"type": "object", "properties": {"l": {"$ref": "#/$defs/tree"}, "v": {"type": "boolean"}}, "required": ["v"]},
}


def test_random():
    r = random.Random(1)
    names = ["a", "ab", "b", "\u00e9", "quo\"te", "", "long name"]
    ended = 0
    for i in range(int(os.environ.get("SCHEMAS", "150"))):
        schema = {**some_schema(r, 3, names), "$defs": DEFS}
        told = ask(schema=schema, seed=i + 1, count=12)
        check(told.get("error", "nothing can match it").endswith("nothing can match it"), f"{schema}: {told.get('error')}")
        for text in told["walks"]:
            ended += text is not None
            check(text is None or is_valid(schema, text), f"{schema}: {text!r} is not valid")
    print(f"  figure: {ended} texts of random schemas were valid")
    check(ended > 500, f"only {ended} texts")


def test_json():
    """JSONTestSuite: what is no JSON is not accepted; what is, is, but for its white space and the length of its numbers."""
    files = sorted(glob.glob(os.path.join(DATA, "json", "JSONTestSuite", "test_parsing", "[yn]_*.json")))
    texts = []
    for path in files:
        with open(path, "rb") as f:
            try:
                text = f.read().decode()
            except UnicodeDecodeError:
                continue
            if len(text) < 1000 or "n_" in path:
                texts.append((os.path.basename(path), text[:5000]))
    told = ask(kind="value", texts=[t for _, t in texts]) if texts else {"accepted": []}
    compact = ask(kind="value", texts=[json.dumps(json.loads(t)) if n[0] == "y" else t for n, t in texts]) if texts else told
    for (name, text), plainly, compactly in zip(texts, told["accepted"], compact["accepted"]):
        if name[0] == "n":
            check(not plainly, f"{name} is accepted")
        else:
            blank = re.search(r"[ \t\r\n]{2}|\r|\n$|^\s|\s$| [:,]|\d{17}|[eE][+-]?\d{3}", text)
            check(compactly and (plainly or blank), f"{name} is not accepted: {text!r}")
    if not texts:
        print("  no JSONTestSuite in the test data")


for name, test in list(globals().items()):
    if name.startswith("test_"):
        before = len(failures)
        test()
        print(f"{name}: {'ok' if len(failures) == before else 'FAILED'}")
finish()
