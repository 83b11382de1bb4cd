#!/usr/bin/env python3
"""zerollama-operations(7) quotes what the programs say and lists what they measure: every quoted sentence is in the
source, word for word, and every metric is in the page, and nothing else is."""
import os
import re
import sys

SRC = os.environ.get("top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))


def read(*path):
    with open(os.path.join(SRC, *path), encoding="utf-8") as f:
        return f.read()


def strings():
    """The text of every source file, with string literals that continue each other joined."""
    for directory, _, files in os.walk(os.path.join(SRC, "src")):
        for name in sorted(files):
            if name.endswith(".c"):
                yield re.sub(r'"\s*"', "", read(directory, name)).replace('\\"', '"')


def sentences(page):
    section = page.split(".Sh WHAT IT SAYS")[1].split(".Sh ")[0]
    return re.findall(r'^\.It Li "(.*)"$', section, re.M)


def is_said(sentence, sources):
    """All of its parts, by one file; what strerror() says of a file that is not there is not ours."""
    said = [re.sub(r": (No such file|Permission|Address already).*", "", part).strip(" :;,") for part in sentence.split("...")]
    said = [part for part in said if len(part) > 1]
    assert said, sentence
    return any(all(part in text for part in said) for text in sources)


def metrics():
    code = read("src", "api", "status.c")
    names = re.findall(r'^\s+\{"(\w+)", "(?:gauge|counter|histogram)"', code, re.M)
    names += re.findall(r'(?:metric_head|put_number)\(&?out, "(\w+)"', code)
    return set(names)


def listed(page):
    section = page.split(".Ss Metrics")[1].split(".Sh LOGS")[0]
    lines = [line for line in section.splitlines() if re.match(r"\.(It )?Li \w+_", line) or line.startswith(".It Li connections")]
    return {word for line in lines for word in re.findall(r"[a-z0-9_]{6,}", line)} - {"zerollama_"}


def main():
    page = read("man", "zerollama-operations.7")
    sources = list(strings())
    quoted = sentences(page)
    wrong = [f"nothing says: {s}" for s in quoted if not is_said(s, sources)]
    there, told = metrics(), listed(page)
    wrong += [f"metric {name} is not in the page" for name in sorted(there - told)]
    wrong += [f"the page has metric {name}, which does not exist" for name in sorted(told - there)]
    print("\n".join(wrong) if wrong else f"{len(quoted)} sentences and {len(there)} metrics")
    return 1 if wrong or len(quoted) < 20 or len(there) < 15 else 0


sys.exit(main())
