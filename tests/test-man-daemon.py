#!/usr/bin/env python3
"""Every option of zerollamad is in zerollamad(8), and every route of the API in zerollama-api(7), and nothing else is."""
import os
import re
import subprocess
import sys

SRC = os.environ.get("top_srcdir", os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
BUILD = os.environ.get("top_builddir", ".")


def read(*path):
    with open(os.path.join(SRC, *path), encoding="utf-8") as f:
        return f.read()


def compare(what, code, page):
    for missing in sorted(code - page):
        print(f"{what} {missing} is not in the page")
    for stale in sorted(page - code):
        print(f"the page has {what} {stale}, which does not exist")
    print(f"{what}s: {len(code)}")
    return code == page and len(code) > 0


def options():
    text = subprocess.run([os.path.join(BUILD, "zerollamad"), "--help"], check=True, capture_output=True, text=True).stdout
    code = set(re.findall(r"^ +(?:-\w, )?--([\w-]+)", text, re.M))
    listed = read("man", "zerollamad.8").split(".Sh OPTIONS")[1].split(".Sh SIGNALS")[0]
    return code, set(re.findall(r"Fl -([\w-]+)", listed))


def routes():
    row = re.compile(r'\{"(GET|POST|DELETE|PUT)", "(/[^"]*)"')
    code = {" ".join(m) for name in ("openai.c", "ollama.c", "status.c") for m in row.findall(read("src", "api", name))}
    items = [line for line in read("man", "zerollama-api.7").splitlines() if line.startswith(".It Cm ")]
    return code, {route.strip() for line in items for route in line[len(".It Cm "):].split(" , ")}


results = [compare("option", *options()), compare("route", *routes())]
sys.exit(0 if all(results) else 1)
