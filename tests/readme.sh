#!/bin/sh
# readme.sh BUILD: the C program in README.md is the one that is built and run.
set -eu
awk '/^```c$/ {on = 1; next} /^```$/ {on = 0} on' README.md >"$1/readme.c"
if ! cmp -s "$1/readme.c" examples/attention.c; then
  echo "README.md: its program differs from examples/attention.c:" >&2
  diff "$1/readme.c" examples/attention.c >&2 || true
  exit 1
fi
