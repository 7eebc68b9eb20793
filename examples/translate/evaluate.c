/* Loss, token accuracy, exact match and character error rate on held-out examples. */
#include "commands.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define AT_ONCE 128 /* sequences decoded together */
#define UNKNOWN_CHARACTER -1

static int32_t best_of(const float *row, int64_t n) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; i++)
    if (row[i] > row[best]) best = i;
  return (int32_t)best;
}

/* Loss and right tokens, each token given the right ones before it. */
static th_status teacher_forced(run *r, const batch *b, double *loss, int64_t *right, th_error *error) {
  th_tape_reset(r->tape);
  th_tape_record(r->tape, false);
  th_tape_train(r->tape, false);
  th_var *memory = th_transformer_encode(r->model, r->tape, &b->source, b->source_length, NULL);
  th_var *logits = th_transformer_decode(r->model, memory, b->source_length, &b->input, NULL);
  th_var *mean = th_cross_entropy(logits, &b->output, 0);
  const th_error *failed = th_tape_error(r->tape);
  if (failed) th_error_set(error, failed->status, "%s", failed->text);
  else {
    *loss += th_tensor_get(&mean->value, 0) * (double)b->tokens;
    int64_t n = logits->value.shape[2], rows = th_tensor_count(&b->output);
    const int32_t *wanted = b->output.data;
    for (int64_t i = 0; i < rows; i++)
      *right += wanted[i] >= 0 && best_of((const float *)logits->value.data + i * n, n) == wanted[i];
  }
  th_status status = failed ? failed->status : TH_OK;
  th_tape_record(r->tape, true);
  th_tape_reset(r->tape);
  return status;
}

/* ---- characters and edits ----------------------------------------------------------------------------------- */

/* The code points of the tokens' text, words with a space between. Returns how many; out holds `room`. */
static int64_t characters(const th_vocabulary *v, const int32_t *ids, int64_t count, int32_t *out,
                          int64_t room) {
  int64_t n = 0;
  for (int64_t i = 0; i < count && n < room; i++) {
    const utf8proc_uint8_t *text = (const utf8proc_uint8_t *)th_vocabulary_token(v, ids[i]);
    if (i && th_vocabulary_unit(v) == TH_UNIT_WORD) out[n++] = ' ';
    if (ids[i] < TH_SPECIALS) {
      if (n < room) out[n++] = UNKNOWN_CHARACTER;
      continue;
    }
    utf8proc_int32_t code;
    for (utf8proc_ssize_t step; *text && n < room && (step = utf8proc_iterate(text, -1, &code)) > 0;
         text += step)
      out[n++] = code;
  }
  if (n && out[n - 1] == ' ' && th_vocabulary_unit(v) == TH_UNIT_BPE) n--; /* it ends the last word */
  return n;
}

/* Fewest insertions, deletions and substitutions (Levenshtein 1966), one row at a time. */
static int64_t edits(const int32_t *a, int64_t n, const int32_t *b, int64_t m, int64_t *row) {
  for (int64_t j = 0; j <= m; j++) row[j] = j;
  for (int64_t i = 1; i <= n; i++) {
    int64_t diagonal = row[0];
    row[0] = i;
    for (int64_t j = 1; j <= m; j++) {
      int64_t change = diagonal + (a[i - 1] != b[j - 1] || a[i - 1] == UNKNOWN_CHARACTER);
      diagonal = row[j];
      int64_t skip = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      row[j] = change < skip ? change : skip;
    }
  }
  return row[m];
}

typedef struct tally {
  int64_t exact, edits, characters;
  int32_t *wanted, *made; /* [room] */
  int64_t *row;           /* [room + 1] */
  int64_t room;
} tally;

static void compare(tally *t, const th_vocabulary *v, const example *e, const int32_t *decoded,
                    int64_t limit) {
  int64_t length = 0;
  while (length < limit && decoded[length] != TH_EOS) length++;
  int64_t n = characters(v, e->target, e->target_length, t->wanted, t->room);
  int64_t m = characters(v, decoded, length, t->made, t->room);
  int64_t wrong = edits(t->wanted, n, t->made, m, t->row);
  t->characters += n;
  t->edits += wrong;
  t->exact += wrong == 0;
}

/* ---- all of it ------------------------------------------------------------------------------------------------ */

static th_status evaluate_some(run *r, const example *examples, int64_t count, batch *b,
                               const th_tensor *decoded, score *sum, int64_t *tokens, int64_t *right,
                               tally *t, th_error *error) {
  batch_fill(b, examples, count);
  th_status status = teacher_forced(r, b, &sum->loss, right, error);
  th_tensor part;
  th_view_slice(&part, decoded, 0, 0, count);
  if (!status)
    status =
        th_transformer_greedy(r->model, r->tape, &b->source, b->source_length, TH_BOS, TH_EOS, &part, error);
  for (int64_t i = 0; i < count && !status; i++)
    compare(t, r->data.target, &examples[i], (const int32_t *)part.data + i * part.shape[1], part.shape[1]);
  *tokens += b->tokens;
  return status;
}

th_status evaluate(run *r, const example *examples, int64_t count, score *result, th_error *error) {
  enum { LONGEST_TOKEN = 64 }; /* characters of a word that are looked at */
  batch b;
  th_tensor decoded = {0};
  int64_t tokens = 0, right = 0, limit = r->model->config.max_length;
  tally t = {.room = (limit + 1) * LONGEST_TOKEN};
  *result = (score){.count = count};
  th_status status = batch_new(&b, AT_ONCE, r->data.longest, error);
  if (!status) status = th_tensor_new(&decoded, TH_I32, 2, (int64_t[]){AT_ONCE, limit}, error);
  t.wanted = calloc((size_t)t.room, sizeof *t.wanted);
  t.made = calloc((size_t)t.room, sizeof *t.made);
  t.row = calloc((size_t)t.room + 1, sizeof *t.row);
  if (!status && (!t.wanted || !t.made || !t.row))
    status = th_error_set(error, TH_ENOMEM, "no memory to evaluate");
  for (int64_t i = 0; i < count && !status; i += AT_ONCE)
    status = evaluate_some(r, examples + i, count - i < AT_ONCE ? count - i : AT_ONCE, &b, &decoded, result,
                           &tokens, &right, &t, error);
  result->exact = t.exact;
  result->loss /= (double)(tokens ? tokens : 1);
  result->token_accuracy = (double)right / (double)(tokens ? tokens : 1);
  result->exact_match = (double)t.exact / (double)(count ? count : 1);
  result->character_errors = (double)t.edits / (double)(t.characters ? t.characters : 1);
  free(t.wanted);
  free(t.made);
  free(t.row);
  th_tensor_free(&decoded);
  batch_free(&b);
  return status;
}
