#!/bin/sh
# mpi.sh BUILD: what docs/mpi.md promises of training by several processes, from a build with MPI=1. Prints a line for each
# promise that holds, and stops at the first that does not.
set -eu
translate=$(cd "$1" && pwd)/translate
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cd "$work"

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
most=60 # seconds that anything here may take: nothing is to hang
shape='--width 32 --heads 2 --encoder-layers 1 --decoder-layers 1 --feed-forward 64 --held-out 20 --threads 1'
reverse="$shape --task reverse --symbols 8 --max-length 8 --batch 16 --report-every 5 --save-every 10"

fail() {
  echo "mpi.sh: $1" >&2
  [ ! -s errors ] || sed 's/^/  /' errors >&2
  exit 1
}
holds() { echo "  $1"; }

patience=
# ranks N ARGUMENT...: the program as N ranks; what it says goes to `output` and `errors`.
ranks() {
  count=$1
  shift
  # shellcheck disable=SC2086  # words are meant to split
  timeout $most mpirun --oversubscribe --bind-to none $patience -n "$count" "$translate" "$@" >output 2>errors
}
train() { # train N DIR ARGUMENT...
  count=$1 run=$2
  shift 2
  ranks "$count" train --out "$run" "$@" || fail "train --out $run $* as $count ranks: status $?"
}
same() { diff -r "$1" "$2" >difference || fail "$1 and $2 differ: $(head -n 3 difference)"; }

# curves SAYS ARGUMENT...: 1 process, 2 and 4 ranks write the same files, to the last bit.
curves() {
  says=$1
  shift
  rm -rf one two four
  "$translate" train --out one "$@" >/dev/null 2>errors || fail "$says: one process: status $?"
  train 2 two "$@"
  train 4 four "$@"
  same one two
  same one four
  holds "$says: 1, 2 and 4 ranks write the same files"
}

# refuses STATUS LINE COMMAND...: fails with this status and one line of the program's own that ends so.
refuses() {
  wanted=$1 line=$2
  shift 2
  status=0
  "$@" || status=$?
  [ "$status" -eq "$wanted" ] || fail "$*: status $status, not $wanted"
  [ "$(grep -c '^translate train: ' errors)" -eq 1 ] || fail "$*: not one line"
  grep -q "^translate train: .*$line\$" errors || fail "$*: not the line '$line'"
}

# The process of a rank (1) of the run in DIR (2).
process_of() {
  for p in $(pgrep -f "^$translate train .*--out $2 "); do
    tr '\0' '\n' <"/proc/$p/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$1" && echo "$p"
  done
}

# kill_rank SIGNAL RANK N DIR ARGUMENT...: N ranks, one of which gets a signal once there is a checkpoint of step 10. mpirun tells
# the others, and kills them after a second, unless it is told to wait: on busy processors a line may take longer.
kill_rank() {
  signal=$1 rank=$2 count=$3 run=$4
  shift 4
  rm -rf "$run"
  patience='--mca odls_base_sigkill_timeout 5'
  (ranks "$count" train --out "$run" "$@" || echo $? >status) &
  tries=0
  until [ -s "$run/optimizer.safetensors" ] && grep -q '"step":10,' "$run/metrics.jsonl" 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || fail "no checkpoint of step 10"
    sleep 0.05
  done
  kill -"$signal" "$(process_of "$rank" "$run")"
  rm -f status
  wait
  [ "$(cat status 2>/dev/null)" != 124 ] || fail "a run whose rank $rank got $signal hangs"
  [ -s status ] || fail "a run whose rank $rank got $signal ended well"
  patience=
}

# ---- the same curve --------------------------------------------------------------------------------------------

curves 'a toy task, dropout' $reverse --steps 20 --dropout 0.2
curves 'all that is kept of a run' $reverse --steps 20 --dropout 0.1 --accumulate 3 --weight-decay 0.01 --ema 0.9 \
  --average 2 --validate-every 5 --patience 2 --snapshot-every 10 --parts 8
curves 'layers that keep nothing' $reverse --steps 6 --dropout 0.1 --reversible yes --feed-forward-chunks 2
curves 'tied matrices, relative positions, gates' $reverse --steps 6 --tie all --positions relative --head-gates l0 \
  --gate-penalty 0.01 --head-dropout 0.1
i=0
while [ $i -lt 120 ]; do
  printf 'n%d m%d\t%d\n' $i $((i * 7 % 13)) $((i * i))
  i=$((i + 1))
done >pairs.tsv
curves 'pairs, batches that may have fewer sequences than ranks' $shape --pairs pairs.tsv --steps 12 --batch-tokens 60 \
  --dropout 0.1 --report-every 6 --save-every 6

# Other parts: to rounding, the same dropout included.
train 1 whole $reverse --steps 10 --dropout 0.2 --report-every 1 --parts 1
train 2 cut $reverse --steps 10 --dropout 0.2 --report-every 1 --parts 8
losses() { sed 's/.*"loss":\([^,]*\),.*/\1/' "$1/metrics.jsonl"; }
losses whole >whole.losses
losses cut >cut.losses
paste -d' ' whole.losses cut.losses |
  awk '{ d = ($1 - $2) / $1; if (d < 0) d = -d; if (!(d < 1e-5)) exit 1; n++ } END { if (n != 10) exit 1 }' ||
  fail 'parts of a batch change its loss by more than 1e-5 of it, in 10 steps'
holds 'batches whole and in 8 parts: the same losses to 1e-5, with dropout'

# ---- killed, and gone on with -------------------------------------------------------------------------------------

long="$reverse --steps 120 --dropout 0.1 --width 96"
train 1 undisturbed $long
for how in '1 2 2' '0 2 1' '2 4 4' '3 4 2'; do
  # shellcheck disable=SC2086  # three numbers: the rank that dies, of how many, and how many go on
  set -- $how
  kill_rank KILL "$1" "$2" killed $long
  if [ "$1" -ne 0 ]; then
    grep -q '^translate train: .*another rank is gone; the last checkpoint is kept: train --out killed goes on from it$' errors ||
      fail "rank $1 of $2 was killed: no line says how to go on"
  fi
  grep -q "process rank $1 .*signal 9" errors || fail "rank $1 of $2 was killed: mpirun does not say so"
  train "$3" killed
  same undisturbed killed
  holds "rank $1 of $2 killed, gone on with by $3: the files of an undisturbed run"
done
kill_rank TERM 1 2 stopped $long
[ "$(cat status)" -eq 143 ] && grep -q '^Stopped at step .*, all saved' output || fail 'SIGTERM to a rank: not saved'
train 4 stopped
same undisturbed stopped
holds 'a rank asked to stop: all stop and save, 4 go on to the same files'

train 1 grown $reverse --steps 20
train 4 grown --steps 30
train 2 shrunk $reverse --steps 20
train 1 shrunk --steps 30
same grown shrunk
holds 'begun by 1 and gone on with by 4, begun by 2 and gone on with by 1: the same files'

train 2 raised $reverse --steps 4 --parts 1
grep -q '^batches are cut into 2 parts instead of 1, one for each rank: results differ in rounding$' output ||
  fail '--parts 1 and 2 ranks: nobody says that the batches are cut'
grep -q '"parts": 2' raised/config.json || fail '--parts 1 and 2 ranks: the run does not know of its parts'
holds 'more ranks than parts: batches are cut further, and it is said'

# ---- errors --------------------------------------------------------------------------------------------------------

refuses 2 '--batch 2: fewer sequences than the 4 ranks that are to share them' ranks 4 train --out no $reverse --batch 2
refuses 2 '3 ranks: want a power of two: they add as a tree does' ranks 3 train --out no $reverse
refuses 2 '--parts 32: more than the 16 sequences of a batch' ranks 2 train --out no $reverse --parts 32
refuses 2 '6 parts for 2 ranks: want a power of two, and one for each rank' ranks 2 train --out no $reverse --parts 6
refuses 2 '--steps x: want a whole number from 1 to 1e+12' ranks 2 train --out no --steps x
unlike() {
  timeout $most mpirun --oversubscribe --bind-to none -n 1 "$translate" train --out no $reverse : \
    -n 1 "$translate" train --out no $reverse --seed 2 >output 2>errors
}
refuses 2 'rank 1 was given other settings, data or weights than rank 0: want the same for all' unlike
[ ! -e no ] || fail 'what was refused has left a run'
mkdir -p grown/metrics.jsonl.kept && mv grown/metrics.jsonl grown/metrics.jsonl.kept && mkdir grown/metrics.jsonl
refuses 1 'metrics.jsonl: .*' ranks 2 train --out grown --steps 40
refuses 1 'step [0-9]*: .*; the last checkpoint is kept: a lower --rate may help' \
  ranks 2 train --out nan $reverse --rate 100 --weight-decay 10 --schedule constant --warmup 1 --steps 400
holds 'what is wrong is one line, with its status, on whatever rank it is'
