#!/bin/sh
# Every shell script of the source passes shellcheck. Skipped where that is not installed.
command -v shellcheck >/dev/null || { echo "SKIP: shellcheck is not installed"; exit 77; }
cd "${top_srcdir:-.}" || exit 1
scripts=$(grep -rlE '^#!/(usr)?/?s?bin/(sh|bash|openrc-run)' .ci autogen.sh quickstart run-tests debian etc tests)
[ "$(echo "$scripts" | wc -l)" -ge 10 ] || { echo "where are the scripts? found only: $scripts"; exit 1; }
# shellcheck disable=SC2086
shellcheck --severity=warning $scripts && shellcheck --severity=warning --shell=bash etc/bash-completion/zerollama
