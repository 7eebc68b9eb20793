#!/bin/sh
# toys.sh BUILD: the script that compares positions on the toy tasks makes its tables, once.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
export TASKS='copy duplicate addition' POSITIONS='sinusoidal learned' STEPS=2 OUT="$work/toys"
export FLAGS='--width 16 --heads 2 --encoder-layers 1 --decoder-layers 1 --feed-forward 32 --held-out 20 --batch 8'
fail() {
  echo "toys.sh: $1" >&2
  exit 1
}
examples/translate/toys.sh "$1" >"$work/first"
[ "$(wc -l <"$OUT/table.csv")" -eq 25 ] || fail "not a row for each of 3 tasks, 2 kinds of positions and 4 lengths"
[ "$(grep -cE '^([^,]+,){5}[01](\.[0-9e-]+)?,0\.[0-9e-]+$' "$OUT/table.csv")" -eq 24 ] || fail "a row without its scores"
[ "$(grep -c '^| \(sinusoidal\|learned\) |\( [0-9.]* % |\)\{4\}$' "$OUT/table.md")" -eq 6 ] || fail "no whole table"
grep -q '^| positions | 1 to 4, as trained | 5 | 6 | 7 to 8 |$' "$OUT/table.md" || fail "no lengths over the table"
cp -r "$OUT" "$work/before"
examples/translate/toys.sh "$1" >"$work/second"
grep -q '^toys:' "$work/second" && fail "a complete run is made again"
diff -r "$OUT" "$work/before" || fail "the second time gives something else"
if POSITIONS=unheard examples/translate/toys.sh "$1" >/dev/null 2>"$work/error"; then fail "no error"; fi
grep -q '^toys: copy-unheard-1: translate train: --positions unheard' "$work/error" || fail "the error is not named"
diff -r "$OUT/table.md" "$work/before/table.md" || fail "the table was lost"
