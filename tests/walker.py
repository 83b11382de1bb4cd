"""schema-walk, which says what a grammar allows (see its head), and the failures of a test that asks it."""

import json
import os
import subprocess
import sys

walker = subprocess.Popen(
    [os.path.join(os.path.abspath(os.environ.get("top_builddir", ".")), "tests", "schema-walk")],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
failures = []


def ask(**what):
    walker.stdin.write(json.dumps(what) + "\n")
    walker.stdin.flush()
    return json.loads(walker.stdout.readline())


def check(condition, what):
    if not condition:
        failures.append(what)
        print(f"FAIL: {what}")


def finish():
    walker.stdin.close()
    check(walker.wait() == 0, f"the walker ended with {walker.returncode}")
    sys.exit(bool(failures))
