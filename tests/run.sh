#!/bin/sh
# run.sh BUILD: everything `make check` promises, from a build directory that is up to date.
set -eu
build=$1

tests/rooms.sh "$build/libtapehead.a"
tests/readme.sh "$build"
# A build with sanitizers is not for programs without.
case $build in *asan*) ;; *) tests/install.sh "$build" ;; esac
python3 -B tests/test_data_scripts.py --quiet
tests/toys.sh "$build"
tests/examples.sh "$build"
case $(uname -m) in x86_64) tests/kernels.sh "$build" ;; esac
python3 -B bench/run.py "$build" --smoke >/dev/null
for corpus in tests/fuzz/corpus/*/; do
  "$build/fuzz/$(basename "$corpus")" "$corpus"* || { echo "$corpus: a file of it is not taken as it should" >&2; exit 1; }
done
exec "$build/tests-all" --jobs 2
