#!/bin/sh
# toys.sh [BUILD]: how far each kind of positions carries on each toy task, beyond the lengths it was trained on.
#
# Trains every task with every kind of positions, two runs side by side on one thread each, and writes the exact match
# on held-out sequences, in the lengths of training and in longer ones, into build/toys/table.md and table.csv. Stopped,
# it goes on where it was; what is complete is not made again. From the environment, the defaults in parentheses:
#
#     TASKS      (copy reverse sort duplicate addition)
#     POSITIONS  (sinusoidal learned rotary alibi relative none)
#     SEEDS      (1); the table has the mean over several
#     STEPS      updates of each run (1500; addition 3000)
#     FLAGS      further flags of `translate train`
#     OUT        (build/toys)
set -u

program=${1:-build/release}/translate
tasks=${TASKS:-copy reverse sort duplicate addition}
positions=${POSITIONS:-sinusoidal learned rotary alibi relative none}
seeds=${SEEDS:-1}
out=${OUT:-build/toys}

# Sets what depends on the task: bands of lengths, the first that of training, and the longest sequence in tokens.
plan() {
  bands='4-12 13-16 17-20 21-24' room=24 steps=${STEPS:-1500}
  case $1 in
  duplicate) room=48 ;;
  addition) bands='1-4 5-5 6-6 7-8' room=17 steps=${STEPS:-3000} ;;
  esac
}

lengths() { echo "--min-length ${1%-*} --max-length ${1#*-}"; }

number() { # KEY JSON: the first of that name, not its interval
  printf '%s\n' "$2" | sed -n "s/^{[^{]*\"$1\": *\\([-+.0-9e]*\\).*/\\1/p"
}

# One run: trains what is missing, evaluates each band, and leaves its rows as a whole file.
one() { # TASK POSITIONS SEED
  name=$1-$2-$3 rows=$out/rows/$1-$2-$3.csv log=$out/logs/$1-$2-$3.txt
  plan "$1"
  flags="--task $1 --positions $2 --seed $3 $(lengths "${bands%% *}") --room $room --steps $steps --threads 1 ${FLAGS:-}"
  [ -e "$rows" ] && [ "$(head -n 1 "$rows")" = "# $flags" ] && return
  echo "toys: $name"
  # shellcheck disable=SC2086  # the flags are meant to split
  "$program" train --snapshot-every 0 $flags --out "$out/runs/$name" >"$log" 2>&1 || {
    status=$?
    echo "toys: $name: $(tail -n 1 "$log")" >&2
    return $status
  }
  echo "# $flags" >"$rows.new"
  for band in $bands; do
    # shellcheck disable=SC2046
    json=$("$program" eval "$out/runs/$name" $(lengths "$band") --json) || return
    exact=$(number exact_match "$json") tokens=$(number token_accuracy "$json")
    [ -n "$exact" ] && [ -n "$tokens" ] || {
      echo "toys: $name: no score in what eval says: $json" >&2
      return 1
    }
    echo "$1,$2,$3,$band,$(number count "$json"),$exact,$tokens" >>"$rows.new" || return
  done
  mv "$rows.new" "$rows"
}

# Every second combination, from the first or from the second.
worker() { # FIRST
  turn=0
  for task in $tasks; do
    for kind in $positions; do
      for seed in $seeds; do
        [ $((turn % 2)) -ne "$1" ] || one "$task" "$kind" "$seed" || return
        turn=$((turn + 1))
      done
    done
  done
}

rows() { # the rows of all combinations asked for
  for task in $tasks; do
    for kind in $positions; do
      for seed in $seeds; do
        sed 1d "$out/rows/$task-$kind-$seed.csv" || return
      done
    done
  done
}

# A table for each task: a row for each kind of positions, a column for each band.
tables() {
  awk -F, '
    function percent(key) { return sprintf("%.1f %%", 100 * sum[key] / count[key]) }
    !(($1, $2) in kind) { kind[$1, $2]; kinds[$1] = kinds[$1] " " $2 }
    !($1 in bands) { task[++tasks] = $1 }
    index(bands[$1] " ", " " $4 " ") == 0 { bands[$1] = bands[$1] " " $4 }
    { sum[$1, $2, $4] += $6; count[$1, $2, $4]++ }
    END {
      for (t = 1; t <= tasks; t++) {
        n = split(bands[task[t]], band, " ")
        m = split(kinds[task[t]], name, " ")
        printf "%s### %s\n\n| positions |", (t > 1 ? "\n" : ""), task[t]
        for (b = 1; b <= n; b++) {
          split(band[b], end, "-")
          printf " %s%s |", (end[1] == end[2] ? end[1] : end[1] " to " end[2]), (b == 1 ? ", as trained" : "")
        }
        printf "\n|---|"
        for (b = 1; b <= n; b++) printf "---|"
        for (k = 1; k <= m; k++) {
          printf "\n| %s |", name[k]
          for (b = 1; b <= n; b++) printf " %s |", percent(task[t] SUBSEP name[k] SUBSEP band[b])
        }
        printf "\n"
      }
    }'
}

mkdir -p "$out/runs" "$out/rows" "$out/logs" || exit 1
worker 0 &
other=$!
status=0
worker 1 || status=$?
wait "$other" || status=$?
[ $status -eq 0 ] || exit $status
{ echo 'task,positions,seed,lengths,sequences,exact_match,token_accuracy' && rows; } >"$out/table.csv.new" || exit 1
sed 1d "$out/table.csv.new" | tables >"$out/table.md.new" || exit 1
mv "$out/table.csv.new" "$out/table.csv" && mv "$out/table.md.new" "$out/table.md" || exit 1
cat "$out/table.md"
