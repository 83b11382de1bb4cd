#!/usr/bin/env python3
"""Every option of zerollamad and of zerollama-engine is in its page in section 8, every route of the API is in
zerollama-api(7), and nothing else is."""
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


def help_options(program):
    text = subprocess.run([os.path.join(BUILD, program), "--help"], check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"^ +(?:-\w, )?--([\w-]+)", text, re.M))


def daemon_options():
    listed = read("man", "zerollamad.8").split(".Sh OPTIONS")[1].split(".Sh SIGNALS")[0]
    return help_options("zerollamad"), set(re.findall(r"Fl -([\w-]+)", listed))


def engine_options():
    page = read("man", "zerollama-engine.8").replace("\\-", "-")
    return help_options("zerollama-engine"), set(re.findall(r"--([\w-]+)", page))


def routes():
    row = re.compile(r'\{"(GET|POST|DELETE|PUT)", "(/[^"]*)"')
    code = {" ".join(m) for name in os.listdir(os.path.join(SRC, "src", "api")) for m in row.findall(read("src", "api", name))}
    items = [line for line in read("man", "zerollama-api.7").splitlines() if line.startswith(".It Cm ")]
    return code, {route.strip() for line in items for route in line[len(".It Cm "):].split(" , ")}


results = [compare("option", *daemon_options()), compare("option", *engine_options()), compare("route", *routes())]
sys.exit(0 if all(results) else 1)
