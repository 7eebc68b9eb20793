#!/bin/sh
# valgrind.sh BUILD: the program's main paths, good and bad, under valgrind. valgrind knows no AVX-512, so the
# build is for an older processor, and OpenBLAS is told to do likewise.
set -eu
program=$1/translate
export OPENBLAS_CORETYPE=Haswell
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
small="--width 16 --heads 2 --encoder-layers 1 --decoder-layers 1 --feed-forward 32 --max-length 6 --held-out 20 --batch 8 --threads 2"
check() { # STATUS COMMAND...: no error, no leak, and this exit status
  wanted=$1
  shift
  echo "  valgrind translate $*"
  status=0
  valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect,possible \
    --suppressions=tests/valgrind.supp --error-exitcode=99 "$program" "$@" >"$work/out" 2>"$work/err" || status=$?
  if [ "$status" != "$wanted" ]; then
    echo "exit status $status, not $wanted" >&2
    cat "$work/err" >&2
    exit 1
  fi
}
# shellcheck disable=SC2086  # the flags are meant to split
check 0 train --task reverse --symbols 8 --steps 6 --dropout 0.1 $small --out "$work/toy"
check 0 train --steps 8 --out "$work/toy"
echo abcd >"$work/in"
check 0 decode "$work/toy" <"$work/in"
check 0 decode "$work/toy" --beam 3 --n-best 2 --scores --attention "$work/a.png" <"$work/in"
check 0 decode "$work/toy" --sample --top-k 3 --top-p 0.9 --no-cache <"$work/in"
printf 'abc\377\nabc\n' >"$work/bad"
check 1 decode "$work/toy" <"$work/bad"
check 0 eval "$work/toy" --json
check 0 eval "$work/toy" --min-length 2 --max-length 5
check 2 eval "$work/toy" --max-length 7
check 0 gradcheck "$work/toy"
# shellcheck disable=SC2086
check 0 train --task addition --min-length 1 --room 20 --steps 3 $small --out "$work/sums"
check 0 eval "$work/sums" --max-length 9
check 0 score --reference "$work/in" --reference "$work/in" --output "$work/in" --output "$work/in"
check 1 score --reference "$work/in" --output "$work/none"
i=0
while [ $i -lt 60 ]; do
  printf 'word%d\tmot%d\n' $i $i
  i=$((i + 1))
done >"$work/pairs.tsv"
# shellcheck disable=SC2086
check 0 train --pairs "$work/pairs.tsv" $small --max-length 0 --steps 6 --out "$work/pairs"
echo '{"batch-tokens": 60, "accumulate": 2, "validate-every": 2, "average": 2, "save-every": 2, "ema": 0.9}' >"$work/recipe.json"
# shellcheck disable=SC2086
check 0 train --pairs "$work/pairs.tsv" --recipe "$work/recipe.json" $small --max-length 0 --steps 6 --out "$work/kept"
check 0 train --steps 8 --out "$work/kept"
check 0 eval "$work/kept" --use average
check 1 eval "$work/pairs" --use best
check 0 logits "$work/kept" --pairs "$work/pairs.tsv" --out "$work/logits.npy" --use ema
check 2 logits "$work/kept" --pairs "$work/pairs.tsv" --out "$work/logits.npy" --use first
check 2 decode "$work/kept" --beam many
check 2 tokens "$work/kept" "$work/pairs"
check 2 gradcheck "$work/kept" "$work/pairs"
check 2 score --reference "$work/in" "$work/in"
check 2 train --rate fast --out "$work/none"
rm "$work/kept/best.safetensors"
check 0 train --steps 9 --validate-every 0 --out "$work/kept"
check 0 logits "$work/pairs" --pairs "$work/pairs.tsv" --out "$work/logits.npy" --double
head -n 9 "$work/pairs.tsv" >"$work/valid.tsv"
# shellcheck disable=SC2086
check 0 train --pairs "$work/pairs.tsv" --valid "$work/valid.tsv" --source-unit bpe --target-unit bpe --merges 20 \
  --vocabulary joint ${small% --held-out 20*} --batch 8 --threads 2 --steps 6 --out "$work/pieces"
check 0 tokens "$work/pieces" <"$work/pairs.tsv"
printf 'no tab\n' >"$work/bad.tsv"
check 1 train --pairs "$work/bad.tsv" --out "$work/bad"
check 1 train --pairs "$work/none.tsv" --out "$work/bad"
check 2 train --task reverse --rate -1 --out "$work/bad"
check 2 train --task reverse --width 16 --heads 3 --out "$work/bad"
check 1 eval "$work/none"
head -c 3000 "$work/toy/optimizer.safetensors" >"$work/cut"
cp "$work/cut" "$work/toy/optimizer.safetensors"
check 1 train --steps 9 --out "$work/toy"
echo "valgrind: no errors, no leaks"
