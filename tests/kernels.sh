#!/bin/sh
# kernels.sh BUILD: a program built for any x86-64 runs the kernels of OpenBLAS that suit this processor, or those it is told to.
set -eu
translate=$1/translate-narrow
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
fail() {
  echo "kernels.sh: $1" >&2
  exit 1
}
kernels() { # [VARIABLE=VALUE]: which run
  rm -rf "$work/run"
  env -u OPENBLAS_CORETYPE "$@" "$translate" train --task copy --steps 1 --width 16 --encoder-layers 1 --decoder-layers 1 \
    --feed-forward 16 --held-out 20 --out "$work/run" >"$work/log" || fail "no training: $(cat "$work/log")"
  sed -n 's/.*, OpenBLAS with \([A-Za-z]*\) kernels$/\1/p' "$work/log"
}
has() { # FLAG...: whether the processor has all of them
  for flag in "$@"; do grep -qm 1 "^flags.* $flag\\( \\|$\\)" /proc/cpuinfo || return 1; done
}

if has avx512f avx512cd avx512bw avx512dq avx512vl; then wanted='SkylakeX|Cooperlake|SapphireRapids'
elif has avx2 fma; then wanted='Haswell|Zen|Excavator'
else wanted='[A-Za-z]+'
fi
chosen=$(kernels)
echo "$chosen" | grep -qxE "$wanted" || fail "runs ${chosen:-no} kernels, not $wanted"
[ "$(kernels OPENBLAS_CORETYPE=Prescott)" = Prescott ] || fail "what the user asked for does not stand"

# Arguments, standard input and the program's name are as they were.
[ "$(echo abc | env -u OPENBLAS_CORETYPE "$translate" decode "$work/run" --beam 1 --n-best 1 | wc -l)" -eq 1 ] ||
  fail "does not read its standard input"
if env -u OPENBLAS_CORETYPE "$translate" decode "$work/no  run" 2>"$work/error"; then fail "decodes with no run"; fi
grep -qF "translate-narrow decode: $work/no  run" "$work/error" || fail "says $(cat "$work/error")"
