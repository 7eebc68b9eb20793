#!/bin/sh
# run.sh BUILD SECONDS [TARGET...]: feeds each target, one after the other. What is found stays in BUILD/found/, and
# what reaches new code in BUILD/corpus/TARGET/; MERGE=1 then makes the corpus in the repository a small one that
# reaches as many branches.
set -eu
build=$1 seconds=$2
shift 2
[ $# -gt 0 ] || set -- $(cd "$build/fuzz" && ls)
mkdir -p "$build/found"
for target in "$@"; do
  kept=tests/fuzz/corpus/$target grown=$build/corpus/$target
  mkdir -p "$kept" "$grown"
  echo "== $target: $seconds s"
  "$build/fuzz/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
    -verbosity=1 -artifact_prefix="$build/found/$target-" "$grown" "$kept" >"$build/found/$target.log" 2>&1 ||
    { tail -n 40 "$build/found/$target.log"; exit 1; }
  grep -E '^#.*DONE|number_of_executed_units' "$build/found/$target.log" || true
  [ -z "${MERGE:-}" ] || {
    rm -rf "$build/merged" && mkdir "$build/merged"
    "$build/fuzz/$target" -set_cover_merge=1 -use_counters=0 -max_len=1024 "$build/merged" "$kept" "$grown" >/dev/null 2>&1
    rm -rf "$kept" && mv "$build/merged" "$kept"
  }
done
