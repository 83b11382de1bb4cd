#!/usr/bin/env python3
"""Every configuration key, its type and default, is in zerollamad.yaml(5) and in the sample file, and nothing else is.

config-keys prints what the daemon's own tables say. Exits 0 when all agree, 1 when not, 77 when there is nothing to ask.
"""
import os
import re
import subprocess
import sys

SRC = os.environ.get("top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
BUILD = os.environ.get("top_builddir", ".")
# An entry of these lists also takes the keys of that mapping, which documents them.
SHARED = {"models": "model_defaults", "users": "user_defaults", "groups": "user_defaults"}


def schema():
    """{key path: (type, default)}; list markers dropped."""
    program = os.path.join(BUILD, "tests", "config-keys")
    if not os.path.exists(program):
        sys.exit(77)
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    rows = (line.split("\t") for line in lines)
    return {path.replace("[]", ""): (kind, default) for path, kind, default in rows}


def man():
    """The same from the page's .Ss sections and their .It Cm lines."""
    keys, section = {}, None
    with open(os.path.join(SRC, "man", "zerollamad.yaml.5"), encoding="utf-8") as page:
        for line in page:
            if line.startswith((".Ss ", ".Sh ")):
                section = line[4:].strip()
            item = re.match(r"\.It Cm (\w+) Ar (.+?)(?: Pq default Li (\S+))?$", line.rstrip())
            if item:
                path = item[1] if section == "Top level" else f"{section}.{item[1]}"
                keys[path] = (item[2], item[3] or "")
    return keys


def sample():
    """{key path: [values]} of the sample with its options uncommented."""
    keys, stack = {}, []
    with open(os.path.join(SRC, "etc", "zerollamad.yaml"), encoding="utf-8") as text:
        for line in text:
            item = re.match(r"#(?!#)((?: |- )*)(\w+):\s*(.*)$", line.rstrip())
            if item:
                stack = [(indent, key) for indent, key in stack if indent < len(item[1])] + [(len(item[1]), item[2])]
                keys.setdefault(".".join(key for _, key in stack), []).append(item[3])
    return keys


def problems():
    want, page, file = schema(), man(), sample()
    for path, (kind, default) in want.items():
        section, _, key = path.partition(".")
        shared = f"{SHARED.get(section)}.{key}"
        told = page.get(path) or page.get(shared)
        if not told:
            yield f"{path} is not in the man page"
        elif told != (kind, default):
            yield f"{path} is {(kind, default)}, but the man page says {told}"
        if path not in file:
            yield f"{path} is not in the sample"
        elif default and default not in file[path]:
            yield f"{path} is {default} by default, but the sample says {file[path]}"
    for path in sorted(page.keys() - want.keys()):
        yield f"{path} is in the man page, but no such key exists"
    for path in sorted(file.keys() - want.keys()):
        yield f"{path} is in the sample, but no such key exists"


if __name__ == "__main__":
    found = list(problems())
    print("\n".join(found) if found else "man page and sample agree with the tables")
    sys.exit(bool(found))
