#!/bin/sh
# run.sh DIR [--dropout] [--runs N]   times a training step of DIR/step at four sizes, on one and two threads,
#                                     in turn with the same work in PyTorch, and writes build/bench.json;
#                                     large has at most 3 of the 5 (N) runs
# run.sh DIR --smoke                  only whether the benchmarks run: two steps each, no PyTorch, no file
#
# Each run is a process of its own. tapehead and PyTorch take turns, so that what else the machine does falls
# on both. A time is the median over runs of the median over steps; spread is (slowest - fastest run) over
# that. Where the machine is busy with other work, the ratio of the two fastest steps ("at best") says more.
set -u

usage() {
  echo "usage: bench/run.sh DIR [--dropout] [--runs N] | bench/run.sh DIR --smoke" >&2
  exit 2
}

directory='' smoke='' runs=5 dropouts=0
python=/usr/bin/python3 # Debian's, to which python3-torch belongs
while [ $# -gt 0 ]; do
  case $1 in
    --smoke) smoke=1 ;;
    --dropout) dropouts='0 0.1' ;;
    --runs) shift; runs=${1:-} ;;
    -*) usage ;;
    *) [ -z "$directory" ] || usage; directory=$1 ;;
  esac
  [ $# -eq 0 ] || shift
done
case $runs in '' | 0 | *[!0-9]*) usage ;; esac
[ -n "$directory" ] || usage
for program in step ops decode attention_length ranks; do
  [ -x "$directory/$program" ] && continue
  echo "bench/run.sh: there is no $directory/$program; build it with: make bench" >&2
  exit 1
done
here=$(dirname "$0")

# name, steps of one run, arguments
sizes() {
  cat <<END
tiny 100 --width 32 --heads 4 --layers 1 --ff 64 --batch 32 --length 10 --vocabulary 16
small 30 --width 64 --heads 4 --layers 2 --ff 256 --batch 64 --length 16 --vocabulary 32
medium 10 --width 128 --heads 8 --layers 3 --ff 512 --batch 64 --length 32 --vocabulary 64
large 3 --width 512 --heads 8 --layers 6 --ff 2048 --batch 16 --length 64 --vocabulary 1000
END
}

fail() {
  echo "bench/run.sh: $*" >&2
  exit 1
}

# record ENGINE SIZE DROPOUT COMMAND...: runs it and adds its line of JSON, with the first three, to $lines.
record() {
  engine=$1 size=$2 dropout=$3
  shift 3
  line=$("$@" --dropout "$dropout") || fail "this failed: $* --dropout $dropout"
  case $line in
    '{"seconds_per_step": '[0-9]*', "min": '*', "max": '*', "steps": '*', "threads": '*'}') ;;
    *) fail "this printed no line of results: $*: $line" ;;
  esac
  named="\"engine\": \"$engine\", \"size\": \"$size\", \"dropout\": $dropout"
  printf '{%s, %s\n' "$named" "${line#?}" >>"$lines"
}

lines=$(mktemp) || exit 1
trap 'rm -f "$lines"' EXIT
trap 'exit 1' HUP INT TERM

# ---- smoke -------------------------------------------------------------------------------------------------

if [ -n "$smoke" ]; then
  sizes | while read -r size steps arguments; do
    for dropout in 0 0.1; do
      # Batches of 2, to take seconds. The later --batch counts.
      # shellcheck disable=SC2086  # the arguments are meant to split
      record tapehead "$size" $dropout "$directory/step" $arguments --batch 2 --steps 2 --warmup 1 --threads 2
    done
  done || exit 1
  rows=$("$directory/ops" --repeats 2 --threads 2) || fail "$directory/ops failed"
  printf '%s\n' "$rows" | awk '
    NR > 1 && ($0 !~ /(GFLOP|GB)\/s$/ || $0 ~ /nan|inf/) { print "bench/run.sh: ops printed: " $0; bad = 1 }
    END { if (NR < 20) { print "bench/run.sh: ops printed only " NR " lines"; bad = 1 }; exit bad }' >&2 || exit 1
  "$directory/decode" --longest 16 --runs 1 --batch 2 --layers 1 || fail "$directory/decode failed"
  "$directory/attention_length" --longest 512 --repeats 1 --heads 1 || fail "$directory/attention_length failed"
  "$directory/ranks" --steps 1 --batch 4 --parts 4 || fail "$directory/ranks failed"
  exit
fi

# ---- the runs ----------------------------------------------------------------------------------------------

torch=$("$python" -c 'import torch; print(torch.__version__)' 2>/dev/null) || torch=
[ -n "$torch" ] || echo "No PyTorch for $python (Debian: python3-torch): timing tapehead alone."

for dropout in $dropouts; do
  sizes | while read -r size steps arguments; do
    run=1
    last=$runs
    [ "$size" = large ] && [ "$runs" -gt 3 ] && last=3
    while [ $run -le "$last" ]; do
      [ -t 2 ] && printf '\r\033[K%s, dropout %s, run %d of %d ' "$size" "$dropout" "$run" "$last" >&2
      for threads in 1 2; do
        with="--steps $steps --threads $threads $arguments"
        # shellcheck disable=SC2086  # the arguments are meant to split
        record tapehead "$size" "$dropout" "$directory/step" $with
        # shellcheck disable=SC2086
        [ -z "$torch" ] || record pytorch "$size" "$dropout" "$python" "$here/torch_step.py" $with
      done
      run=$((run + 1))
    done
  done || exit 1
done
[ -t 2 ] && printf '\r\033[K' >&2

# ---- the table and the file --------------------------------------------------------------------------------

processor=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 0)
blas=$(sed -n 's/.*"blas": "\([^"]*\)".*/\1/p' "$lines" | head -n 1)
echo "${processor:-unknown processor}, $cores cores, OpenBLAS kernels: $blas, PyTorch: ${torch:-none}"
echo "Milliseconds per step (spread) on 1 and 2 threads; ratio: PyTorch's best time over tapehead's best;"
echo "at best: the same of the fastest single steps."
awk '
  function field(key, text) { # the value of "key" in this line
    text = $0
    if (!sub(".*\"" key "\": \"?", "", text)) return ""
    sub(/[",}].*/, "", text)
    return text
  }
  function median(list, n, a, i, j, t) { # of numbers in a string
    n = split(list, a, " ")
    for (i = 2; i <= n; i++)
      for (j = i; j > 1 && a[j] + 0 < a[j-1] + 0; j--) { t = a[j]; a[j] = a[j-1]; a[j-1] = t }
    slowest = a[n] + 0; fastest = a[1] + 0
    return (a[int((n + 1) / 2)] + a[int(n / 2) + 1]) / 2
  }
  function cell(id, m) { # sets time
    if (!(id in times)) { time = 0; return sprintf("%18s", "-") }
    m = time = median(times[id])
    return sprintf("%11.3f (%3.0f%%)", 1000 * m, 100 * (slowest - fastest) / m)
  }
  function least(a, b) { return a > 0 && (b == 0 || a < b) ? a : b }
  {
    row = field("size") " " field("dropout")
    if (!(row in known)) { known[row] = 1; rows[++count] = row }
    id = row " " field("engine") " " field("threads")
    times[id] = times[id] " " field("seconds_per_step")
    best[row " " field("engine")] = least(field("min") + 0, best[row " " field("engine")] + 0)
    if (field("engine") != "tapehead") next
    work[row] = field("gflops") * field("seconds_per_step") # the same in each run
    peak[row] = field("peak_bytes")
  }
  END {
    printf "%-8s %7s %18s %18s %18s %18s %7s %7s %8s %8s\n", "size", "dropout", "tapehead 1", "tapehead 2",
      "PyTorch 1", "PyTorch 2", "ratio", "at best", "GFLOP/s", "tape MB"
    for (i = 1; i <= count; i++) {
      row = rows[i]
      split(row, part, " ")
      text = sprintf("%-8s %7s", part[1], part[2])
      text = text " " cell(row " tapehead 1"); ours = time
      text = text " " cell(row " tapehead 2"); ours = least(ours, time)
      text = text " " cell(row " pytorch 1"); theirs = time
      text = text " " cell(row " pytorch 2"); theirs = least(theirs, time)
      ratio = theirs ? sprintf("%.2f", theirs / ours) : "-"
      at_best = theirs ? sprintf("%.2f", best[row " pytorch"] / best[row " tapehead"]) : "-"
      printf "%s %7s %7s %8.1f %8.1f\n", text, ratio, at_best, work[row] / ours, peak[row] / 1e6
    }
  }' "$lines"

mkdir -p build
{
  printf '{"processor": "%s", "cores": %s, ' "$processor" "$cores"
  printf '"blas": "%s", "pytorch": "%s", "runs": [\n' "$blas" "$torch"
  sed '$!s/$/,/' "$lines"
  echo ']}'
} >build/bench.json.part || exit 1
mv build/bench.json.part build/bench.json && echo "Every run is in build/bench.json."
