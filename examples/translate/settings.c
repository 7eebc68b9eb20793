#include "settings.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <popt.h>
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
  const char *choices;    /* "a|b|c" */
  const char *toy, *pair; /* defaults, as one would type them: for a toy task, for pairs */
  bool may_change;        /* a run that goes on may take another value */
  const char *help;
} setting;

#define AT(member) offsetof(settings, member)
#define COUNT_MAX 1e12

static const setting table[] = {
    {"task", CHOICE, AT(task), 0, 0, "copy|reverse|sort|pairs", "reverse", "pairs", false,
     "copy, reverse or sort random sequences"},
    {"pairs", TEXT, AT(pairs), 0, 0, NULL, "", "", false,
     "learn from FILE: UTF-8 lines of source<TAB>target"},
    {"source-unit", CHOICE, AT(source_unit), 0, 0, "character|word", "character", "character", false,
     "what a token of the pairs' sources is"},
    {"target-unit", CHOICE, AT(target_unit), 0, 0, "character|word", "character", "character", false,
     "and of their targets"},
    {"symbols", WHOLE, AT(symbols), 2, 10000, NULL, "32", "32", false, "different symbols in a toy task"},
    {"min-length", WHOLE, AT(min_length), 1, 10000, NULL, "4", "4", false, "shortest toy sequence"},
    {"max-length", WHOLE, AT(max_length), 0, 10000, NULL, "16", "0", false,
     "longest sequence in tokens (pairs: 0 takes the longest there is)"},
    {"held-out", WHOLE, AT(held_out), 1, 1e6, NULL, "1000", "1000", false,
     "toy sequences kept for evaluation, or at most so many pairs"},
    {"held-out-part", REAL, AT(held_out_part), 0.001, 0.5, NULL, "0.1", "0.1", false,
     "part of the pairs that is kept from training"},
    {"width", WHOLE, AT(width), 1, 65536, NULL, "64", "128", false, "width of the model"},
    {"heads", WHOLE, AT(heads), 1, 1024, NULL, "4", "4", false, "attention heads in each layer"},
    {"encoder-layers", WHOLE, AT(encoder_layers), 1, 100, NULL, "2", "3", false, "layers of the encoder"},
    {"decoder-layers", WHOLE, AT(decoder_layers), 1, 100, NULL, "2", "3", false, "layers of the decoder"},
    {"feed-forward", WHOLE, AT(feed_forward), 1, 262144, NULL, "128", "512", false,
     "width between the two linear layers"},
    {"norm", CHOICE, AT(norm), 0, 0, "pre|post", "pre", "pre", false,
     "layer norm before each sublayer, or after (the paper)"},
    {"activation", CHOICE, AT(activation), 0, 0, "relu|gelu|gelu-tanh", "relu", "relu", false,
     "between the two linear layers"},
    {"positions", CHOICE, AT(positions), 0, 0, "sinusoidal|learned", "sinusoidal", "sinusoidal", false,
     "how a token knows its place"},
    {"weights", CHOICE, AT(weights), 0, 0, "paper|xavier", "paper", "paper", false,
     "first values of the embeddings"},
    {"dropout", REAL, AT(dropout), 0, 0.99, NULL, "0", "0.1", false, "probability of dropping an activation"},
    {"label-smoothing", REAL, AT(label_smoothing), 0, 0.99, NULL, "0", "0.1", false,
     "probability spread over all tokens"},
    {"steps", WHOLE, AT(steps), 1, COUNT_MAX, NULL, "2500", "6000", true, "updates in all"},
    {"batch", WHOLE, AT(batch), 1, 65536, NULL, "64", "64", false, "sequences in an update"},
    {"rate", REAL, AT(rate), 1e-12, 100, NULL, "0.002", "0.001", false,
     "learning rate (schedule paper: its factor)"},
    {"schedule", CHOICE, AT(schedule), 0, 0, "cosine|constant|paper", "cosine", "cosine", false,
     "how the rate changes; paper: Vaswani et al. 5.3"},
    {"warmup", WHOLE, AT(warmup), 1, COUNT_MAX, NULL, "200", "400", false, "updates until the rate is full"},
    {"clip", REAL, AT(clip), 0, 1e9, NULL, "1", "1", false, "largest norm of the gradient (0: any)"},
    {"weight-decay", REAL, AT(weight_decay), 0, 10, NULL, "0", "0.01", false, "AdamW's decay"},
    {"seed", WHOLE, AT(seed), 0, 9e15, NULL, "1", "1", false, "of weights, data and dropout"},
    {"threads", WHOLE, AT(threads), 0, 1024, NULL, "0", "0", true,
     "0: one per processor; the result is the same for any"},
    {"report-every", WHOLE, AT(report_every), 1, COUNT_MAX, NULL, "100", "250", true,
     "updates between two lines of metrics"},
    {"save-every", WHOLE, AT(save_every), 1, COUNT_MAX, NULL, "500", "500", true,
     "updates between two checkpoints"},
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

static bool is_choice(const char *choices, const char *text) {
  size_t length = strlen(text);
  for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
    if (length && !strncmp(at, text, length) && (at[length] == '|' || !at[length])) return true;
  return false;
}

static th_status set_text(settings *s, const setting *row, const char *text, th_error *error) {
  size_t room = row->kind == TEXT ? PATH_TEXT : 16;
  if (row->kind == CHOICE && !is_choice(row->choices, text))
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

void settings_defaults(settings *s, const given *g) {
  bool pairs = s->pairs[0] != 0;
  for (int i = 0; i < ROWS; i++)
    if (!g->flag[i]) set_from_text(s, &table[i], pairs ? table[i].pair : table[i].toy, NULL);
}

/* ---- the command line -------------------------------------------------------------------------------- */

enum { OPTION_OUT = 1, OPTION_ROW = 2 };

/* The popt table made from ours; its strings are the table's. */
static void fill_options(struct poptOption *options, char help[][160]) {
  static const struct poptOption autohelp = {NULL,   '\0', POPT_ARG_INCLUDE_TABLE, poptHelpOptions, 0,
                                             "Help", NULL};
  options[0] =
      (struct poptOption){"out", 'o',        POPT_ARG_STRING,
                          NULL,  OPTION_OUT, "the run's directory; one that holds a run goes on with it",
                          "DIR"};
  for (int i = 0; i < ROWS; i++) {
    const setting *row = &table[i];
    const char *value = row->kind == WHOLE  ? "N"
                        : row->kind == REAL ? "X"
                        : row->kind == TEXT ? "FILE"
                                            : row->choices;
    bool same = !strcmp(row->toy, row->pair);
    if (row->kind == TEXT) snprintf(help[i], 160, "%s", row->help);
    else if (same) snprintf(help[i], 160, "%s (default: %s)", row->help, row->toy);
    else snprintf(help[i], 160, "%s (default: %s, pairs %s)", row->help, row->toy, row->pair);
    options[i + 1] =
        (struct poptOption){row->name, '\0', POPT_ARG_STRING, NULL, OPTION_ROW + i, help[i], value};
  }
  options[ROWS + 1] = autohelp;
  options[ROWS + 2] = (struct poptOption)POPT_TABLEEND;
}

static th_status take_option(poptContext context, int option, settings *s, given *g, char out[PATH_TEXT],
                             th_error *error) {
  char *text = poptGetOptArg(context);
  th_status status = TH_OK;
  if (!text) return th_error_set(error, TH_ENOMEM, "no memory for the command line");
  if (option == OPTION_OUT) {
    const size_t most = PATH_TEXT / 2 - 32; /* room for .unfinished-NUMBER */
    if (!*text || strlen(text) >= most)
      status = th_error_set(error, TH_EINVAL, "--out: want the name of a directory");
    else strcpy(out, text);
  } else {
    status = set_from_text(s, &table[option - OPTION_ROW], text, error);
    g->flag[option - OPTION_ROW] = true;
  }
  free(text);
  return status;
}

static th_status check_together(const settings *s, const given *g, const char *out, th_error *error) {
  bool task = g->flag[row_of("task")], pairs = g->flag[row_of("pairs")];
  if (!*out) return th_error_set(error, TH_EINVAL, "--out DIR is missing: where should the run go?");
  if (pairs && !s->pairs[0]) return th_error_set(error, TH_EINVAL, "--pairs: want the name of a file");
  if (task && pairs && strcmp(s->task, "pairs") != 0)
    return th_error_set(error, TH_EINVAL, "--task %s and --pairs %s: want one of the two", s->task, s->pairs);
  if (task && !pairs && !strcmp(s->task, "pairs"))
    return th_error_set(error, TH_EINVAL, "--task pairs: say which with --pairs FILE");
  return TH_OK;
}

th_status settings_parse(int argc, const char **argv, settings *s, given *g, char out[PATH_TEXT],
                         th_error *error) {
  struct poptOption options[ROWS + 3];
  char help[ROWS][160];
  memset(s, 0, sizeof *s);
  memset(g, 0, sizeof *g);
  *out = 0;
  fill_options(options, help);
  poptContext context = poptGetContext("translate train", argc, argv, options, 0);
  if (!context) return th_error_set(error, TH_ENOMEM, "no memory for the command line");
  poptSetOtherOptionHelp(context, "--out DIR [--task NAME | --pairs FILE] [OPTION...]");
  th_status status = TH_OK;
  int option;
  while (!status && (option = poptGetNextOpt(context)) > 0)
    status = take_option(context, option, s, g, out, error);
  if (!status && option < -1)
    status = th_error_set(error, TH_EINVAL, "%s: %s; see translate train --help", poptBadOption(context, 0),
                          poptStrerror(option));
  const char *rest = status ? NULL : poptPeekArg(context);
  if (rest) status = th_error_set(error, TH_EINVAL, "%s: unexpected; see translate train --help", rest);
  poptFreeContext(context);
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
  char *text = failed ? NULL : json_dumps(root, JSON_INDENT(2));
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
  return !strcmp(x, y);
}

static th_status load_row(settings *s, const setting *row, const json_t *value, const char *path,
                          th_error *error) {
  th_error inner = {0};
  th_status status;
  if (row->kind == TEXT || row->kind == CHOICE)
    status = json_is_string(value) ? set_text(s, row, json_string_value(value), &inner) : TH_EFORMAT;
  else {
    char text[32];
    double number = json_is_number(value) && (row->kind == REAL || json_is_integer(value))
                        ? json_number_value(value)
                        : NAN;
    snprintf(text, sizeof text, "%.17g", number);
    status = set_number(s, row, number, text, &inner);
  }
  if (status)
    return th_error_set(error, TH_EFORMAT, "%s: \"%s\" is missing or of the wrong kind%s%s", path, row->name,
                        inner.text[0] ? ": " : "", inner.text);
  return TH_OK;
}

th_status settings_load(settings *s, const char *path, const given *g, th_error *error) {
  char *bytes;
  size_t size;
  th_status status = th_file_read(path, &bytes, &size, error);
  if (status) return status;
  json_error_t where;
  json_t *root = json_loadb(bytes, size, JSON_REJECT_DUPLICATES, &where);
  free(bytes);
  if (!root) return th_error_set(error, TH_EFORMAT, "%s:%d: %s", path, where.line, where.text);
  settings loaded = {0};
  for (int i = 0; i < ROWS && !status; i++) {
    status = load_row(&loaded, &table[i], json_object_get(root, table[i].name), path, error);
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

th_status settings_model(const settings *s, int64_t source_vocabulary, int64_t target_vocabulary,
                         th_transformer_config *config, th_error *error) {
  th_activation activation = !strcmp(s->activation, "gelu")        ? TH_ACT_GELU
                             : !strcmp(s->activation, "gelu-tanh") ? TH_ACT_GELU_TANH
                                                                   : TH_ACT_RELU;
  bool pre = !strcmp(s->norm, "pre");
  *config = (th_transformer_config){
      .source_vocabulary = source_vocabulary,
      .target_vocabulary = target_vocabulary,
      .encoder_layers = s->encoder_layers,
      .decoder_layers = s->decoder_layers,
      .max_length = s->max_length + 1, /* the end mark of the source, the begin mark of the target */
      .layer = {.width = s->width,
                .heads = s->heads,
                .feed_forward = s->feed_forward,
                .activation = activation,
                .dropout = s->dropout,
                .norm_first = pre},
      .positions = !strcmp(s->positions, "learned") ? TH_POSITIONS_LEARNED : TH_POSITIONS_SINUSOIDAL,
      .weights = !strcmp(s->weights, "xavier") ? TH_WEIGHTS_XAVIER : TH_WEIGHTS_PAPER,
      .final_norm = pre};
  return th_transformer_check(config, error);
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
