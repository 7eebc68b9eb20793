#!/bin/sh
# examples.sh BUILD: the small programs do what their first lines say, those of CONTRIBUTING.md among them.
set -eu
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
fail() {
  echo "examples/$1" >&2
  exit 1
}

for example in attention own_op own_layer own_measure translator one_stack language_model classifier; do
  "$build/$example" >/dev/null || fail "$example.c: did not do what it should"
done

if "$build/own_op" wrong >"$work/op"; then fail "own_op.c: a mistake goes through"; fi
grep -q '^the worst: d output 0\[1\] / d a\[1\]: numerical -0.0495.*, analytical -0.2500' "$work/op" ||
  fail "own_op.c: the wrong element is not named: $(cat "$work/op")"

"$build/own_task" 500 >"$work/turns.tsv"
awk -F '\t' '{
  n = length($1) - 1; by = index("abcdefgh", substr($1, 1, 1)) - 1; letters = substr($1, 2)
  if ($2 != substr(letters, by + 1) substr(letters, 1, by) || by >= n) exit 1
}' "$work/turns.tsv" || fail "own_task.c: a pair is not turned as its letter says"
"$build/translate" train --pairs "$work/turns.tsv" --out "$work/turns" --steps 3 --width 16 --encoder-layers 1 \
  --decoder-layers 1 --feed-forward 16 >"$work/log" 2>&1 || fail "own_task.c: training on it: $(cat "$work/log")"
if "$build/own_task" many 2>"$work/usage"; then fail "own_task.c: takes any number"; fi
grep -q '^Usage: own_task PAIRS' "$work/usage" || fail "own_task.c: does not say how it is used"
