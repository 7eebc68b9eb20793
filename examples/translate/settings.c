#include "settings.h"
#include "data.h"
#include "methods.h"
#include "options.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---------------------------------------------------------------------------------- */

typedef enum { WHOLE, REAL, CHOICE, TEXT } setting_kind;

typedef struct setting {
  const char *name;
  setting_kind kind;
  size_t offset;
  double low, high;       /* of numbers, both allowed */
  const char *choices;    /* "a|b|c"; of a text, what it is, if not a file's name */
  const char *toy, *pair; /* defaults, as one would type them: for a toy task, for pairs */
  bool may_change;        /* a run that goes on may take another value */
  const char *help;
} setting;

#define AT(member) offsetof(settings, member)
#define COUNT_MAX 1e12

static const setting table[] = {
    {"task", CHOICE, AT(task), 0, 0, "copy|reverse|sort|duplicate|addition|pairs", "reverse", "pairs", false,
     "what to learn"},
    {"pairs", TEXT, AT(pairs), 0, 0, NULL, "", "", false,
     "learn from FILE: UTF-8 lines of source<TAB>target"},
    {"valid", TEXT, AT(valid), 0, 0, NULL, "", "", false,
     "hold out the pairs of FILE, and train on all others of --pairs"},
    {"source-unit", CHOICE, AT(source_unit), 0, 0, "character|word|bpe", "character", "character", false,
     "a token of the pairs' sources (bpe: a piece of a word)"},
    {"target-unit", CHOICE, AT(target_unit), 0, 0, "character|word|bpe", "character", "character", false,
     "and of their targets"},
    {"merges", WHOLE, AT(merges), 0, 1e6, NULL, "4000", "4000", false,
     "pairs of tokens to join, at most, of unit bpe"},
    {"min-count", WHOLE, AT(min_count), 1, COUNT_MAX, NULL, "1", "1", false,
     "tokens the pairs have fewer times are unknown"},
    {"vocabulary", CHOICE, AT(vocabulary), 0, 0, "separate|joint", "separate", "separate", false,
     "one for source and target each, or one of both"},
    {"symbols", WHOLE, AT(symbols), 2, 10000, NULL, "32", "32", false,
     "different symbols in a toy task (addition: digits)"},
    {"min-length", WHOLE, AT(min_length), 1, 10000, NULL, "4", "4", false,
     "shortest toy sequence (addition: digits of a number)"},
    {"max-length", WHOLE, AT(max_length), 0, 10000, NULL, "16", "0", false,
     "longest sequence in tokens (pairs: longer ones are left out; 0: none is)"},
    {"room", WHOLE, AT(room), 0, 100000, NULL, "0", "0", false,
     "longest sequence the model can take (0: no longer than training has)"},
    {"held-out", WHOLE, AT(held_out), 1, 1e6, NULL, "1000", "1000", false,
     "toy sequences kept for evaluation, or at most so many pairs"},
    {"held-out-part", REAL, AT(held_out_part), 0.001, 0.5, NULL, "0.1", "0.1", false,
     "part of the pairs that is kept from training"},
    {"width", WHOLE, AT(width), 1, 65536, NULL, "64", "128", false, "width of the model"},
    {"heads", WHOLE, AT(heads), 1, 1024, NULL, "4", "4", false, "attention heads in each layer"},
    {"pruned", TEXT, AT(pruned), 0, 0, "LIST", "", "", false,
     "heads to do without from the start, such as enc0.1,3,cross1.0-2"},
    {"encoder-layers", WHOLE, AT(encoder_layers), 1, 100, NULL, "2", "3", false, "layers of the encoder"},
    {"decoder-layers", WHOLE, AT(decoder_layers), 1, 100, NULL, "2", "3", false, "layers of the decoder"},
    {"feed-forward", WHOLE, AT(feed_forward), 1, 262144, NULL, "128", "512", false,
     "width between the two linear layers"},
    {"norm", CHOICE, AT(norm), 0, 0, "pre|post", "pre", "pre", false,
     "layer norm before each sublayer, or after (the paper)"},
    {"final-norm", CHOICE, AT(final_norm), 0, 0, "auto|yes|no", "auto", "auto", false,
     "layer norm after each stack (auto: with --norm pre; PyTorch: yes)"},
    {"activation", CHOICE, AT(activation), 0, 0, "relu|gelu|gelu-tanh", "relu", "relu", false,
     "between the two linear layers"},
    {"positions", CHOICE, AT(positions), 0, 0, "sinusoidal|learned|rotary|alibi|relative|none", "sinusoidal",
     "sinusoidal", false, "how a token knows its place"},
    {"tie", CHOICE, AT(tie), 0, 0, "none|output|source|all", "none", "none", false,
     "what shares the target embedding's matrix"},
    {"weights", CHOICE, AT(weights), 0, 0, "paper|xavier", "paper", "paper", false,
     "first values of the embeddings"},
    {"attention", CHOICE, AT(attention), 0, 0,
     "full|multi-query|grouped|collaborative|local|linear|talking|lsh", "full", "full", false,
     "how heads attend"},
    {"cross-attention", CHOICE, AT(cross_attention), 0, 0,
     "auto|full|multi-query|grouped|collaborative|linear|talking", "auto", "auto", false,
     "and across (auto: likewise; full, where --attention is local or lsh)"},
    {"key-heads", WHOLE, AT(key_heads), 0, 1024, NULL, "0", "0", false,
     "grouped: heads of keys and values (0: half the heads)"},
    {"shared-width", WHOLE, AT(shared_width), 0, 65536, NULL, "0", "0", false,
     "collaborative: of the shared queries and keys (0: half the width)"},
    {"window", WHOLE, AT(window), 0, 1e6, NULL, "0", "0", false,
     "local: keys less than N tokens away are seen (0: 8)"},
    {"hash-rounds", WHOLE, AT(hash_rounds), 0, 1000, NULL, "0", "0", false, "lsh: rounds of hashing (0: 4)"},
    {"hash-buckets", WHOLE, AT(hash_buckets), 0, 1e6, NULL, "0", "0", false,
     "lsh: an even number (0: as fill a chunk each in the longest sequence; 1: no hashing)"},
    {"hash-chunk", WHOLE, AT(hash_chunk), 0, 1e6, NULL, "0", "0", false, "lsh: keys in a chunk (0: 8)"},
    {"reversible", CHOICE, AT(reversible), 0, 0, "no|yes", "no", "no", false,
     "layers that keep nothing for backward and compute it again; wants --norm pre"},
    {"feed-forward-chunks", WHOLE, AT(feed_forward_chunks), 0, 1e6, NULL, "0", "0", false,
     "the feed-forward's rows in N parts, each computed again in backward (0: at once)"},
    {"dropout", REAL, AT(dropout), 0, 0.99, NULL, "0", "0.1", false, "probability of dropping an activation"},
    {"head-dropout", REAL, AT(head_dropout), 0, 0.99, NULL, "0", "0", false,
     "probability of dropping a whole attention head, for each sequence"},
    {"head-gates", CHOICE, AT(head_gates), 0, 0, "none|l0", "none", "none", false,
     "a gate for each head that can learn to shut (l0: hard concrete)"},
    {"gate-penalty", REAL, AT(gate_penalty), 0, 1e6, NULL, "0", "0", false,
     "added to the objective for each gate expected open, in nats per token"},
    {"disagreement", CHOICE, AT(disagreement), 0, 0, "none|subspace|positions|outputs", "none", "none", false,
     "in what the heads of an attention are to differ"},
    {"disagreement-weight", REAL, AT(disagreement_weight), 0, 1e6, NULL, "0", "0", false,
     "and how much of it comes off the objective"},
    {"label-smoothing", REAL, AT(label_smoothing), 0, 0.99, NULL, "0", "0.1", false,
     "probability spread over all tokens"},
    {"steps", WHOLE, AT(steps), 1, COUNT_MAX, NULL, "2500", "6000", true, "updates in all"},
    {"batch", WHOLE, AT(batch), 1, 65536, NULL, "64", "64", false, "sequences in a batch"},
    {"batch-tokens", WHOLE, AT(batch_tokens), 0, 1e7, NULL, "0", "0", false,
     "pairs: as many in a batch as take N tokens with marks and padding, both sides (0: --batch)"},
    {"accumulate", WHOLE, AT(accumulate), 1, 10000, NULL, "1", "1", false, "batches in an update"},
    {"parts", WHOLE, AT(parts), 1, 65536, NULL, "1", "1", true,
     "parts of a batch, each computed by itself: a power of two (MPI: 4, or one for each rank)"},
    {"rate", REAL, AT(rate), 1e-12, 100, NULL, "0.002", "0.001", true,
     "learning rate (schedule paper: its factor)"},
    {"schedule", CHOICE, AT(schedule), 0, 0, "cosine|constant|paper", "cosine", "cosine", false,
     "how the rate changes (paper: Vaswani et al., 5.3)"},
    {"warmup", WHOLE, AT(warmup), 1, COUNT_MAX, NULL, "200", "400", true, "updates until the rate is full"},
    {"clip", REAL, AT(clip), 0, 1e9, NULL, "1", "1", false, "largest norm of the gradient (0: any)"},
    {"weight-decay", REAL, AT(weight_decay), 0, 10, NULL, "0", "0.01", false, "AdamW's decay"},
    {"decay", CHOICE, AT(decay), 0, 0, "matrices|all", "matrices", "matrices", false,
     "what decays, all but biases and norms or all"},
    {"ema", REAL, AT(ema), 0, 0.999999, NULL, "0", "0", false,
     "decay of a moving average of the weights (0: none), kept as ema.safetensors"},
    {"seed", WHOLE, AT(seed), 0, 9e15, NULL, "1", "1", false, "of weights, data and dropout"},
    {"threads", WHOLE, AT(threads), 0, 1024, NULL, "0", "0", true,
     "0: one per processor; the result is the same for any"},
    {"report-every", WHOLE, AT(report_every), 1, COUNT_MAX, NULL, "100", "250", true,
     "updates between two lines of metrics"},
    {"save-every", WHOLE, AT(save_every), 1, COUNT_MAX, NULL, "500", "500", true,
     "updates between two checkpoints"},
    {"snapshot-every", WHOLE, AT(snapshot_every), 0, COUNT_MAX, NULL, "125", "0", true,
     "updates between two copies of the weights in snapshots/, for the command heads (0: none)"},
    {"average", WHOLE, AT(average), 0, AVERAGE_MAX, NULL, "0", "0", false,
     "keep the mean of the last N checkpoints as average.safetensors (0: not)"},
    {"validate-every", WHOLE, AT(validate_every), 0, COUNT_MAX, NULL, "0", "0", true,
     "updates between two validations, the best of which is kept as best.safetensors (0: none)"},
    {"validate-most", WHOLE, AT(validate_most), 1, 1e6, NULL, "2000", "2000", false,
     "held-out examples in a validation, if there are as many"},
    {"patience", WHOLE, AT(patience), 0, COUNT_MAX, NULL, "0", "0", true,
     "end after so many validations in a row without a lower loss (0: never)"},
};
enum { ROWS = sizeof table / sizeof *table };
_Static_assert(ROWS <= SETTINGS_MAX, "a flag for each row");

static int row_of(const char *name) {
  for (int i = 0; i < ROWS; i++)
    if (!strcmp(table[i].name, name)) return i;
  return -1;
}

static void *place(settings *s, const setting *row) { return (char *)s + row->offset; }

/* ---- one value from text, and back ------------------------------------------------------------------ */

/* Which of the choices the text is, from 0; -1: none. */
static int choice_of(const char *choices, const char *text) {
  size_t length = strlen(text);
  int index = 0;
  for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL, index++)
    if (length == strcspn(at, "|") && !strncmp(at, text, length)) return index;
  return -1;
}

static th_status set_text(settings *s, const setting *row, const char *text, th_error *error) {
  size_t room = row->kind == TEXT ? PATH_TEXT : 16;
  if (row->kind == CHOICE && choice_of(row->choices, text) < 0)
    return th_error_set(error, TH_EINVAL, "--%s %s: want one of %s", row->name, text, row->choices);
  if (strlen(text) >= room) return th_error_set(error, TH_EINVAL, "--%s: the text is too long", row->name);
  strcpy(place(s, row), text);
  return TH_OK;
}

static th_status set_number(settings *s, const setting *row, double value, const char *text,
                            th_error *error) {
  if (!(value >= row->low && value <= row->high))
    return th_error_set(error, TH_EINVAL, "--%s %s: want %s from %g to %g", row->name, text,
                        row->kind == WHOLE ? "a whole number" : "a number", row->low, row->high);
  if (row->kind == WHOLE) *(int64_t *)place(s, row) = (int64_t)value;
  else *(double *)place(s, row) = value;
  return TH_OK;
}

static th_status set_from_text(settings *s, const setting *row, const char *text, th_error *error) {
  if (row->kind == TEXT || row->kind == CHOICE) return set_text(s, row, text, error);
  char *end;
  errno = 0;
  double value = strtod(text, &end);
  if (end == text || *end || errno || (row->kind == WHOLE && value != floor(value))) value = NAN;
  return set_number(s, row, value, text, error);
}

bool settings_say_task(const given *g) { return g->flag[row_of("task")] || g->flag[row_of("pairs")]; }

void settings_defaults(settings *s, const given *g) {
  bool pairs = s->pairs[0] != 0;
  for (int i = 0; i < ROWS; i++)
    if (!g->flag[i]) set_from_text(s, &table[i], pairs ? table[i].pair : table[i].toy, NULL);
  if (g->flag[row_of("parts")]) return;
  while (s->parts < th_ranks_parts() && 2 * s->parts <= s->batch) s->parts *= 2;
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static th_status read_object(json_t **root, const char *path, th_error *error) {
  char *bytes;
  size_t size;
  th_status status = th_file_read(path, &bytes, &size, error);
  if (status) return status;
  status = th_json_parse(root, bytes, size, path, "settings", error);
  free(bytes);
  return status;
}

static th_status load_row(settings *s, const setting *row, const json_t *value, const char *path,
                          th_error *error) {
  static const char *const wanted[] = {"a whole number", "a number", "a string", "a string"}; /* by kind */
  const bool fits[] = {json_is_integer(value), json_is_number(value), json_is_string(value),
                       json_is_string(value)};
  th_error inner;
  th_status status;
  if (!fits[row->kind]) status = th_error_set(&inner, TH_EFORMAT, "want %s", wanted[row->kind]);
  else if (json_is_string(value)) status = set_text(s, row, json_string_value(value), &inner);
  else {
    char text[32];
    snprintf(text, sizeof text, "%.17g", json_number_value(value));
    status = set_number(s, row, json_number_value(value), text, &inner);
  }
  return status ? th_error_set(error, TH_EFORMAT, "%s: \"%s\" is of the wrong kind: %s", path, row->name,
                               inner.text)
                : TH_OK;
}

static th_status no_setting(const char *path, const char *name, th_error *error) {
  return th_error_set(error, TH_EFORMAT, "%s: \"%.60s\" is no setting; see train --help", path, name);
}

/* ---- a recipe ------------------------------------------------------------------------------------------- */

#define REMARK "about" /* a key of recipes that says something to their readers alone */

/* The settings of a recipe, as if they had been typed, save those that were, and what these stand in for. */
static th_status take_recipe(const char *path, settings *s, given *g, th_error *error) {
  const int task = row_of("task"), pairs = row_of("pairs");
  given typed = *g;
  json_t *root, *value;
  const char *key;
  th_status status = read_object(&root, path, error);
  if (status) return status;
  if (!json_is_object(root)) status = th_error_set(error, TH_EFORMAT, "%s: not a JSON object", path);
  json_object_foreach (root, key, value) {
    int i = row_of(key);
    bool overruled =
        i >= 0 && (typed.flag[i] || (i == task && typed.flag[pairs]) || (i == pairs && typed.flag[task]));
    bool says_nothing = json_is_string(value) && !*json_string_value(value);
    if (status || overruled || says_nothing || !strcmp(key, REMARK)) continue;
    if (i < 0) status = no_setting(path, key, error);
    else status = load_row(s, &table[i], value, path, error);
    if (i >= 0) g->flag[i] = true;
  }
  json_decref(root);
  return status;
}

/* ---- the command line -------------------------------------------------------------------------------- */

enum { OPTION_OUT = 1, OPTION_RECIPE, OPTION_PROFILE, OPTION_ROW };
#define OPTIONS_FIRST (OPTION_ROW - 1) /* before those of the rows */
#define PROFILE_MAX 1000

#define HELP_TEXT 200

/* What a row says of itself: its choices, and what it is when nobody says. */
static void write_help(const setting *row, char *help, size_t room) {
  const char *colon = row->choices ? ": " : "", *choices = row->choices ? row->choices : "";
  if (row->kind == TEXT) snprintf(help, room, "%s", row->help);
  else if (row == table)
    snprintf(help, room, "%s%s%s", row->help, colon, choices); /* the task: somebody must */
  else if (!strcmp(row->toy, row->pair))
    snprintf(help, room, "%s%s%s (default: %s)", row->help, colon, choices, row->toy);
  else
    snprintf(help, room, "%s%s%s (default: %s; with --pairs: %s)", row->help, colon, choices, row->toy,
             row->pair);
}

/* The popt table made from ours; its strings are the table's. */
static void fill_options(struct poptOption *options, char help[][HELP_TEXT]) {
  static const char *const values[] = {[WHOLE] = "N", [REAL] = "X", [CHOICE] = "NAME", [TEXT] = "FILE"};
  static const struct poptOption first[] = {{"out", 'o', POPT_ARG_STRING, NULL, OPTION_OUT,
                                             "the run's directory; one that holds a run goes on with it",
                                             "DIR"},
                                            {"recipe", '\0', POPT_ARG_STRING, NULL, OPTION_RECIPE,
                                             "settings from FILE, a JSON object as in config.json; flags win",
                                             "FILE"},
                                            {"profile", '\0', POPT_ARG_STRING, NULL, OPTION_PROFILE,
                                             "say where the time of N steps goes: a table, and profile.json",
                                             "N"}},
                                 last[] = {POPT_AUTOHELP POPT_TABLEEND};
  memcpy(options, first, sizeof first);
  for (int i = 0; i < ROWS; i++) {
    const setting *row = &table[i];
    write_help(row, help[i], HELP_TEXT);
    const char *value = row->kind == TEXT && row->choices ? row->choices : values[row->kind];
    options[i + OPTIONS_FIRST] =
        (struct poptOption){row->name, '\0', POPT_ARG_STRING, NULL, OPTION_ROW + i, help[i], value};
  }
  memcpy(options + ROWS + OPTIONS_FIRST, last, sizeof last);
}

typedef struct command {
  settings *s;
  given *g;
  char *out, recipe[PATH_TEXT]; /* each [PATH_TEXT] */
} command;

/* One option that was given. */
static th_status take_option(void *context, int option, const char *text, th_error *error) {
  command *c = context;
  if (option == OPTION_OUT) {
    if (!*text || strlen(text) >= OUT_TEXT)
      return th_error_set(error, TH_EINVAL, "--out: want the name of a directory");
    strcpy(c->out, text);
    return TH_OK;
  }
  if (option == OPTION_RECIPE) {
    if (!*text || strlen(text) >= sizeof c->recipe)
      return th_error_set(error, TH_EINVAL, "--recipe: want the name of a file");
    strcpy(c->recipe, text);
    return TH_OK;
  }
  if (option == OPTION_PROFILE) { /* no row: it is not saved */
    const setting profile = {
        .name = "profile", .kind = WHOLE, .offset = AT(profile), .low = 1, .high = PROFILE_MAX};
    return set_from_text(c->s, &profile, text, error);
  }
  c->g->flag[option - OPTION_ROW] = true;
  return set_from_text(c->s, &table[option - OPTION_ROW], text, error);
}

static th_status check_together(const settings *s, const given *g, const char *out, th_error *error) {
  bool task = g->flag[row_of("task")], pairs = g->flag[row_of("pairs")];
  if (!*out) return th_error_set(error, TH_EINVAL, "--out DIR is missing: where should the run go?");
  if (pairs && !s->pairs[0]) return th_error_set(error, TH_EINVAL, "--pairs: want the name of a file");
  if (task && pairs && strcmp(s->task, "pairs") != 0)
    return th_error_set(error, TH_EINVAL, "--task %s and --pairs %s: want one of the two", s->task, s->pairs);
  bool valid = g->flag[row_of("valid")];
  if (valid && !s->valid[0]) return th_error_set(error, TH_EINVAL, "--valid: want the name of a file");
  if (valid && (g->flag[row_of("held-out")] || g->flag[row_of("held-out-part")]))
    return th_error_set(error, TH_EINVAL,
                        "--valid holds out a whole file: leave out --held-out and --held-out-part");
  if (task && !pairs && !strcmp(s->task, "pairs"))
    return th_error_set(error, TH_EINVAL, "--task pairs: say which with --pairs FILE");
  return TH_OK;
}

th_status settings_parse(int argc, const char **argv, settings *s, given *g, char out[PATH_TEXT],
                         th_error *error) {
  struct poptOption options[ROWS + OPTIONS_FIRST + 2];
  char help[ROWS][HELP_TEXT];
  memset(s, 0, sizeof *s);
  memset(g, 0, sizeof *g);
  *out = 0;
  command c = {.s = s, .g = g, .out = out};
  fill_options(options, help);
  options_syntax syntax = {options, "--out DIR [--task NAME | --pairs FILE] [OPTION...]", take_option, &c};
  th_status status = options_read(&syntax, argc, argv, NULL, error);
  if (!status && c.recipe[0]) status = take_recipe(c.recipe, s, g, error);
  return status ? status : check_together(s, g, out, error);
}

/* ---- config.json -------------------------------------------------------------------------------------- */

th_status settings_save(const settings *s, const char *path, th_error *error) {
  json_t *root = json_object();
  int failed = !root;
  for (int i = 0; i < ROWS && !failed; i++) {
    const void *at = (const char *)s + table[i].offset;
    json_t *value = table[i].kind == WHOLE  ? json_integer(*(const int64_t *)at)
                    : table[i].kind == REAL ? json_real(*(const double *)at)
                                            : json_string(at);
    failed = json_object_set_new(root, table[i].name, value);
  }
  char *text = failed ? NULL : th_json_dump(root, JSON_INDENT(2));
  json_decref(root);
  if (!text) return th_error_set(error, TH_ENOMEM, "%s: no memory, or a setting is not UTF-8", path);
  th_status status = th_file_write(path, text, strlen(text), error);
  free(text);
  return status;
}

static bool same_value(const settings *a, const settings *b, const setting *row) {
  const void *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
  if (row->kind == WHOLE) return *(const int64_t *)x == *(const int64_t *)y;
  if (row->kind == REAL) return *(const double *)x == *(const double *)y;
  if (row->kind == TEXT && !row->choices)
    return !*(const char *)x == !*(const char *)y; /* the run has its own copy */
  return !strcmp(x, y);
}

/* The task is the first row, and must be there. Another that is not has its default: the file was written by
 * hand, or before there was such a choice. */
static th_status default_row(settings *s, const setting *row, const char *path, th_error *error) {
  if (row == table) return th_error_set(error, TH_EFORMAT, "%s: \"%s\" is missing", path, row->name);
  return set_from_text(s, row, strcmp(s->task, "pairs") != 0 ? row->toy : row->pair, error);
}

static th_status refuse_unknown(json_t *root, const char *path, th_error *error) {
  const char *name;
  json_t *value;
  json_object_foreach (root, name, value)
    if (row_of(name) < 0) return no_setting(path, name, error);
  return TH_OK;
}

th_status settings_load(settings *s, const char *path, const given *g, th_error *error) {
  json_t *root;
  th_status status = read_object(&root, path, error);
  if (status) return status;
  settings loaded = {0};
  status = refuse_unknown(root, path, error);
  for (int i = 0; i < ROWS && !status; i++) {
    const json_t *value = json_object_get(root, table[i].name);
    status = value ? load_row(&loaded, &table[i], value, path, error)
                   : default_row(&loaded, &table[i], path, error);
    if (status || !g || !g->flag[i]) continue;
    if (table[i].may_change) memcpy(place(&loaded, &table[i]), place(s, &table[i]), sizeof(int64_t));
    else if (!same_value(s, &loaded, &table[i]))
      status = th_error_set(error, TH_EINVAL,
                            "--%s differs from the run that %s describes: use another --out, or leave it out",
                            table[i].name, path);
  }
  json_decref(root);
  if (!status) *s = loaded;
  return status;
}

/* ---- into the library's words ------------------------------------------------------------------------- */

static bool same_tokens(const th_vocabulary *a, const th_vocabulary *b) {
  int32_t count = th_vocabulary_count(a);
  bool same = count == th_vocabulary_count(b);
  for (int32_t id = 0; id < count && same; id++)
    same = !strcmp(th_vocabulary_token(a, id), th_vocabulary_token(b, id));
  return same;
}

/* Settings that want others. */
static th_status check_choices(const settings *s, th_error *error) {
  if (s->patience && !s->validate_every)
    return th_error_set(error, TH_EINVAL, "--patience %lld counts validations: want a --validate-every, too",
                        (long long)s->patience);
  if (s->batch_tokens && strcmp(s->task, "pairs") != 0)
    return th_error_set(error, TH_EINVAL,
                        "--batch-tokens %lld is for pairs: a toy task takes --batch sequences",
                        (long long)s->batch_tokens);
  if (s->gate_penalty > 0 && !strcmp(s->head_gates, "none"))
    return th_error_set(error, TH_EINVAL, "--gate-penalty %g wants gates: --head-gates l0, too",
                        s->gate_penalty);
  if (!strcmp(s->reversible, "yes") && strcmp(s->norm, "pre") != 0)
    return th_error_set(error, TH_EINVAL, "--reversible yes wants --norm pre, too");
  if ((strcmp(s->disagreement, "none") != 0) != (s->disagreement_weight > 0))
    return th_error_set(error, TH_EINVAL,
                        "--disagreement %s with --disagreement-weight %g: want both, or neither",
                        s->disagreement, s->disagreement_weight);
  return TH_OK;
}

th_status settings_model(const settings *s, const th_vocabulary *source, const th_vocabulary *target,
                         th_transformer_config *config, th_error *error) {
  th_status status = check_choices(s, error);
  if (status) return status;
  th_activation activation = !strcmp(s->activation, "gelu")        ? TH_ACT_GELU
                             : !strcmp(s->activation, "gelu-tanh") ? TH_ACT_GELU_TANH
                                                                   : TH_ACT_RELU;
  bool tie_all = !strcmp(s->tie, "all"), tie_source = tie_all || !strcmp(s->tie, "source");
  if (tie_source && !same_tokens(source, target))
    return th_error_set(error, TH_EINVAL,
                        "--tie %s: source and target have vocabularies of their own: want --vocabulary joint",
                        s->tie);
  bool pre = !strcmp(s->norm, "pre");
  int64_t longest = strcmp(s->task, "pairs") ? toy_longest(s) : s->max_length;
  if (s->room && s->room < longest)
    return th_error_set(error, TH_EINVAL, "--room %lld: training has sequences of up to %lld tokens",
                        (long long)s->room, (long long)longest);
  *config = (th_transformer_config){
      .source_vocabulary = th_vocabulary_count(source),
      .target_vocabulary = th_vocabulary_count(target),
      .encoder_layers = s->encoder_layers,
      .decoder_layers = s->decoder_layers,
      .max_length =
          (s->room ? s->room : longest) + 1, /* the end mark of the source, the begin mark of the target */
      .layer = {.width = s->width,
                .heads = s->heads,
                .feed_forward = s->feed_forward,
                .activation = activation,
                .dropout = s->dropout,
                .head_gates = !strcmp(s->head_gates, "l0"),
                .head_dropout = s->head_dropout,
                .feed_forward_chunks = s->feed_forward_chunks,
                .norm_first = pre},
      .positions =
          (th_positions)choice_of(table[row_of("positions")].choices, s->positions), /* in this order */
      .weights = !strcmp(s->weights, "xavier") ? TH_WEIGHTS_XAVIER : TH_WEIGHTS_PAPER,
      .reversible = !strcmp(s->reversible, "yes"),
      .final_norm = !strcmp(s->final_norm, "yes") || (pre && !strcmp(s->final_norm, "auto")),
      .tie_source = tie_source,
      .tie_output = tie_all || !strcmp(s->tie, "output")};
  status = settings_methods(s, config->max_length, &config->layer, error);
  return status ? status : th_transformer_check(config, error);
}

th_schedule settings_schedule(const settings *s) {
  return (th_schedule){.kind = !strcmp(s->schedule, "paper")      ? TH_RATE_WARMUP
                               : !strcmp(s->schedule, "constant") ? TH_RATE_CONSTANT
                                                                  : TH_RATE_COSINE,
                       .base = s->rate,
                       .warmup = s->warmup,
                       .total = s->steps,
                       .width = s->width};
}
