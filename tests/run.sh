#!/bin/sh
# run.sh BUILD: everything `make check` promises, from a build directory that is up to date.
set -eu
build=$1

tests/rooms.sh "$build/libtapehead.a"
tests/readme.sh "$build"
python3 -B tests/test_data_scripts.py --quiet
"$build/attention" >/dev/null
"$build/own_op" >/dev/null
bench/run.sh "$build" --smoke >/dev/null
exec "$build/tests-all" --jobs 2
