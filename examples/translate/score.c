/* translate score: lines of text against lines of text, whoever made them; and one system against another. */
#include "commands.h"
#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct score_options {
  char **references, **outputs; /* ended by NULL; NULL: none */
  int json;
} score_options;

static int count_of(char *const *list) {
  int count = 0;
  while (list && list[count]) count++;
  return count;
}

static void free_list(char **list) {
  for (int i = count_of(list); i > 0;) free(list[--i]);
  free(list);
}

static th_status parse(int argc, const char **argv, score_options *o, th_error *error) {
  struct poptOption options[] = {
      {"reference", '\0', POPT_ARG_ARGV, &o->references, 0,
       "what was wanted, a line for each output; given again: another right answer for each", "FILE"},
      {"output", '\0', POPT_ARG_ARGV, &o->outputs, 0, "what was made; given twice: two systems to compare",
       "FILE"},
      {"json", '\0', POPT_ARG_NONE, &o->json, 0, "print one line of JSON", NULL},
      POPT_AUTOHELP POPT_TABLEEND};
  th_status status =
      options_read(&(options_syntax){options, "--reference FILE --output FILE [OPTION...]", NULL, NULL}, argc,
                   argv, NULL, error);
  if (status) return status;
  if (!o->references) return th_error_set(error, TH_EINVAL, "--reference FILE is missing: what was wanted?");
  if (!o->outputs) return th_error_set(error, TH_EINVAL, "--output FILE is missing: what was made?");
  if (count_of(o->outputs) > 2)
    return th_error_set(error, TH_EINVAL, "--output: given %d times, want one or two systems",
                        count_of(o->outputs));
  return TH_OK;
}

/* ---- files of lines ----------------------------------------------------------------------------------------- */

typedef struct text_lines {
  char *bytes, **line; /* [count] */
  int64_t count;
} text_lines;

static void text_free(text_lines *l) {
  free(l->bytes);
  free(l->line);
}

static th_status check_line(const char *path, int64_t number, const char *line, size_t length,
                            th_error *error) {
  size_t valid = th_utf8_valid(line, length);
  if (valid < length)
    return th_error_set(error, TH_EFORMAT, "%s:%lld: not valid UTF-8 at byte %zu", path, (long long)number,
                        valid + 1);
  if (memchr(line, 0, length))
    return th_error_set(error, TH_EFORMAT, "%s:%lld: a zero byte in the text", path, (long long)number);
  return TH_OK;
}

/* Lines end with a newline, or a carriage return and one; the last may lack it. */
static th_status text_read(text_lines *l, const char *path, th_error *error) {
  size_t size, room = 1;
  *l = (text_lines){0};
  th_status status = th_file_read(path, &l->bytes, &size, error);
  if (status) return status;
  char *at = l->bytes, *end = l->bytes + size;
  for (char *c = at; c < end; c++) room += *c == '\n';
  if (!(l->line = reallocarray(NULL, room, sizeof *l->line)))
    return th_error_set(error, TH_ENOMEM, "%s: no memory for %zu lines", path, room);
  if (size >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) at += 3; /* a byte-order mark says nothing here */
  while (at < end && !status) {
    char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
    size_t length = (size_t)(stop - at);
    if (length && at[length - 1] == '\r') length--;
    status = check_line(path, l->count + 1, at, length, error);
    at[length] = 0; /* a zero byte follows the file's last, so there is room */
    l->line[l->count++] = at;
    at = stop + 1;
  }
  if (!status && !l->count) status = th_error_set(error, TH_EFORMAT, "%s: empty: want lines of text", path);
  return status;
}

/* ---- scoring -------------------------------------------------------------------------------------------------- */

typedef struct corpus {
  text_lines *references, outputs[2]; /* [reference_count], [output_count] */
  int reference_count, output_count;
  scorecard cards[2];
} corpus;

static th_status same_count(const char *path, const text_lines *l, const char *first_path,
                            const text_lines *first, th_error *error) {
  if (l->count == first->count) return TH_OK;
  return th_error_set(error, TH_EFORMAT,
                      "%s has %lld lines, %s has %lld: want a line of each for every output", path,
                      (long long)l->count, first_path, (long long)first->count);
}

static th_status read_all(corpus *c, const score_options *o, th_error *error) {
  c->reference_count = count_of(o->references);
  c->references = calloc((size_t)c->reference_count + 1, sizeof *c->references);
  if (!c->references) return th_error_set(error, TH_ENOMEM, "no memory for the references");
  th_status status = TH_OK;
  for (int i = 0; i < c->reference_count && !status; i++) {
    status = text_read(&c->references[i], o->references[i], error);
    if (!status)
      status = same_count(o->references[i], &c->references[i], o->references[0], &c->references[0], error);
  }
  for (int i = 0; i < count_of(o->outputs) && !status; i++) {
    status = text_read(&c->outputs[c->output_count++], o->outputs[i], error);
    if (!status)
      status = same_count(o->outputs[i], &c->outputs[i], o->references[0], &c->references[0], error);
  }
  return status;
}

static th_status count_output(corpus *c, int output, th_error *error) {
  static const measure_id which[] = {EXACT_MATCH, CHARACTER_ERRORS, WORD_ERRORS, BLEU, CHRF, CHRF_WORDS};
  const text_lines *l = &c->outputs[output];
  const char **references = calloc((size_t)c->reference_count, sizeof *references);
  th_status status = references ? TH_OK : th_error_set(error, TH_ENOMEM, "no memory for the references");
  if (!status)
    status = scorecard_new(&c->cards[output], which, sizeof which / sizeof *which, l->count, error);
  for (int64_t i = 0; i < l->count && !status; i++) {
    for (int k = 0; k < c->reference_count; k++) references[k] = c->references[k].line[i];
    status = scorecard_count(&c->cards[output], i, l->line[i], references, c->reference_count, error);
  }
  free(references);
  return status;
}

/* ---- printing --------------------------------------------------------------------------------------------------- */

typedef struct verdict {
  th_interval intervals[2][MEASURES];
  th_comparison comparisons[MEASURES]; /* of two systems */
} verdict;

static th_status judge(const corpus *c, verdict *v, th_error *error) {
  th_pool *pool = th_pool_new(0); /* NULL would be this thread alone */
  th_status status = TH_OK;
  for (int i = 0; i < c->output_count && !status; i++)
    status = scorecard_intervals(&c->cards[i], pool, v->intervals[i], error);
  if (!status && c->output_count == 2)
    status = scorecard_compare(&c->cards[0], &c->cards[1], pool, v->comparisons, error);
  th_pool_free(pool);
  return status;
}

static void print_table(const corpus *c, const verdict *v) {
  printf("%-20s  %8lld", "lines", (long long)c->outputs[0].count);
  if (c->output_count == 1) {
    printf("    95 %% interval\n");
    print_intervals(&c->cards[0], v->intervals[0]);
    return;
  }
  printf("    %-20s  %8s    %-20s  %8s    %-20s  p\n", "first", "", "second", "", "second less first");
  print_comparisons(&c->cards[0], v->intervals[0], v->intervals[1], v->comparisons);
}

static th_status print_as_json(const corpus *c, const verdict *v, const score_options *o, th_error *error) {
  json_t *object = json_pack("{s: I, s: i}", "lines", (json_int_t)c->outputs[0].count, "references",
                             c->reference_count),
         *outputs = json_array();
  for (int i = 0; i < c->output_count; i++) {
    json_t *one = json_object(), *name = json_string(o->outputs[i]);
    json_object_set_new(one, "output", name ? name : json_null()); /* a path need not be UTF-8 */
    intervals_to_json(one, &c->cards[i], v->intervals[i]);
    json_array_append_new(outputs, one);
  }
  json_object_set_new(object, "outputs", outputs);
  if (c->output_count == 2)
    json_object_set_new(object, "differences", comparisons_to_json(&c->cards[0], v->comparisons));
  settings_to_json(object, &c->cards[0], c->reference_count);
  return print_json(object, error);
}

static th_status score_files(const score_options *o, th_error *error) {
  corpus c = {0};
  verdict v;
  th_status status = read_all(&c, o, error);
  for (int i = 0; i < c.output_count && !status; i++) status = count_output(&c, i, error);
  if (!status) status = judge(&c, &v, error);
  if (!status && o->json) status = print_as_json(&c, &v, o, error);
  else if (!status) print_table(&c, &v);
  for (int i = 0; i < c.output_count; i++) {
    text_free(&c.outputs[i]);
    scorecard_free(&c.cards[i]);
  }
  for (int i = 0; c.references && i < c.reference_count; i++) text_free(&c.references[i]);
  free(c.references);
  return status;
}

th_status score_command(int argc, const char **argv, th_error *error) {
  score_options o = {0};
  th_status status = parse(argc, argv, &o, error);
  if (!status) status = score_files(&o, error);
  free_list(o.references);
  free_list(o.outputs);
  return status;
}
