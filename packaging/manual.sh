#!/bin/sh
# manual.sh PROGRAM: its manual page on standard output, made of what PROGRAM itself says with --help. RUN stands
# before it where something has to (an emulator).
set -eu
export LC_ALL=C.UTF-8
program=$1

# Lines of --help to roff: a term and, two blanks or more behind it, its text, which goes on in deeper lines.
entries() {
  awk '
    function plain(text) {
      gsub(/\\/, "\\e", text)
      gsub(/-/, "\\-", text)
      return text ~ /^[.\x27]/ ? "\\&" text : text
    }
    /^Help options:/ { exit }
    /^$/ { next }
    /^Usage: / { print ".PP\n.B " plain(substr($0, 8)); next }
    /^[A-Z]/ { print ".PP\n" plain($0); next }
    match($0, /[^ ]/) <= 7 { # at most six blanks before it
      sub(/^ +/, "")
      at = match($0, /  +/)
      print ".TP\n.B " plain(at ? substr($0, 1, at - 1) : $0)
      if (at) print plain(substr($0, at + RLENGTH))
      next
    }
    { sub(/^ +/, ""); print plain($0) }'
}

help() { ${RUN:-} "$program" "$@" --help; }

usage=$(help)
version=$(${RUN:-} "$program" --version)
commands=$(printf '%s\n' "$usage" | awk '/^  [a-z]/ && !seen[$1]++ { print $1 }')
name=$(basename "$program")
cat <<EOF
.\\" Made by packaging/manual.sh.
.TH $(printf '%s' "$name" | tr '[:lower:]' '[:upper:]') 1 "" "${version##*, of }"
.SH NAME
$name \\- train a small Transformer and see what each attention head does
.SH SYNOPSIS
.B $name
.I COMMAND
\&...
.SH DESCRIPTION
EOF
printf '%s\n' "$usage" | sed '1,2d' | entries
echo .SH COMMANDS
for command in $commands; do
  echo ".SS $command"
  help "$command" | entries
done
cat <<EOF
.SH ENVIRONMENT
.TP
.B OPENBLAS_CORETYPE
the processor whose kernels OpenBLAS is to run, such as Haswell; without it, the best that it has for this one
.SH EXAMPLE
.nf
$name train \\-\\-task copy \\-\\-out runs/copy
echo hello | $name decode runs/copy
$name heads runs/copy
.fi
EOF
