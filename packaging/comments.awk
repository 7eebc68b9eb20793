# The headers' comments are plain. This is how Doxygen is told to read them: the first is the file's, one on lines of its
# own belongs to every declaration up to the next blank line, one behind a declaration to that, a rule to none.

# A comment's text: what Doxygen would take for a command is none, and what the headers declare becomes a link, unless
# it is called there or stands for several (th_nn_X).
function said(text) {
  gsub(/[\\@<>&$%]/, "\\\\&", text)
  gsub(/#/, "\\#", text)
  gsub(/th_[a-z0-9_]*[a-z0-9]/, "#&", text)
  gsub(/ \.\./, " \\&hellip;", text)
  while (match(text, /#th_[a-z0-9_]*[a-z0-9](\(|_X)/)) text = substr(text, 1, RSTART - 1) substr(text, RSTART + 1)
  while (match(text, /`[^`]+`/))
    text = substr(text, 1, RSTART - 1) "<tt>" substr(text, RSTART + 1, RLENGTH - 2) "</tt>" substr(text, RSTART + RLENGTH)
  return text
}

function close_group() {
  if (group) print "///@}"
  group = 0
}

# The header that includes the others is the first page.
FILENAME ~ /\/tapehead\.h$/ && FNR == 1 { page = "/** @mainpage\n *" said(substr($0, 3)) "\n *\n" }
page && /^#include/ { listed = listed " * - @ref " substr($2, 11, length($2) - 11) "\n" }
END { if (page) { sub(/ \*\/\n/, "\n", page); printf "%s%s */\n", page, listed } }

{ start = inside ? 0 : index($0, "/*") }

/^ *\/\* ---/ {
  close_group()
  inside = !/\*\//
  if (inside) print "/*"
  next
}
/^$/ && !inside && !depth { close_group() }

!inside && !start {
  line = $0
  depth += gsub(/{/, "{", line) - gsub(/}/, "}", line)
  if (/extern "C"|^}$/) depth = 0
  print
  next
}
start {
  code = substr($0, 1, start - 1)
  text = said(substr($0, start + 2))
  depth += gsub(/{/, "{", code) - gsub(/}/, "}", code)
  if (FNR == 1) text = " @file\n *" text
  else if (code == "") {
    close_group()
    print "///@{"
    group = 1
  }
  print code "/**" (code ~ /[^ ]/ ? "<" : "") text
  inside = !/\*\//
  next
}
# Lines set in by three blanks are a table or a formula, and stay as they are.
/^ \*   / != verbatim {
  print verbatim ? " * @endverbatim" : " * @verbatim"
  verbatim = !verbatim
}
{
  line = verbatim ? $0 : said($0)
  inside = !/\*\//
  if (verbatim && !inside) {
    sub(/ *\*\/.*/, "\n * @endverbatim */", line)
    verbatim = 0
  }
  print line
}
