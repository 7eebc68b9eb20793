/* Heatmaps of every head and grids of every layer for one held-out example, and the training curve. */
#include "commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANTED_TOKENS 12 /* long enough to show a pattern, short enough to read every label */
#define CANDIDATES 200

/* ---- one example ------------------------------------------------------------------------------------ */

int64_t pick_examples(const data *d, int64_t count, const example **picked) {
  bool taken[CANDIDATES] = {false};
  int64_t candidates = d->held_out_count < CANDIDATES ? d->held_out_count : CANDIDATES;
  if (count > candidates) count = candidates;
  for (int64_t k = 0; k < count; k++) {
    int64_t least = INT64_MAX, best = 0;
    for (int64_t i = 0; i < candidates; i++) {
      int64_t off = llabs(d->held_out[i].source_length - WANTED_TOKENS);
      if (!taken[i] && off < least) least = off, best = i;
    }
    taken[best] = true;
    picked[k] = &d->held_out[best];
  }
  return count;
}

const char **labels_of(const th_vocabulary *v, int32_t before, const int32_t *ids, int64_t count,
                       int32_t after) {
  const char **labels = calloc((size_t)count + 2, sizeof *labels);
  int64_t n = 0;
  if (!labels) return NULL;
  if (before != TH_PAD) labels[n++] = th_vocabulary_token(v, before);
  for (int64_t i = 0; i < count; i++) labels[n++] = th_vocabulary_token(v, ids[i]);
  if (after != TH_PAD) labels[n++] = th_vocabulary_token(v, after);
  return labels;
}

void tell_of_fonts(const th_plot *plot, FILE *log) {
  if (!th_plot_has_text(plot))
    fprintf(log, "No font was found: pictures come without labels. Any package of fonts helps, such as "
                 "fonts-dejavu-core.\n");
  else if (th_plot_missing(plot))
    fprintf(log,
            "No font has U+%04X: pictures show U+FFFD in its place. A package of fonts that has it "
            "helps, such as fonts-noto-cjk for Chinese, Japanese and Korean.\n",
            (unsigned)th_plot_missing(plot));
}

const char *kind_title(th_attention_kind kind) {
  static const char *const titles[] = {"encoder self-attention", "decoder self-attention", "cross-attention"};
  return titles[kind];
}

/* ---- drawing from inside the forward pass ------------------------------------------------------------- */

typedef struct artist {
  run *run;
  th_plot *plot;
  const char **source_labels, **target_labels;
  int pictures;
  th_status status;
  th_error *error;
} artist;

static void draw_layer(artist *a, const th_nn_attention *layer, th_heatmap *maps, char titles[][32]) {
  char path[PATH_TEXT], name[128], title[96];
  const char *kind = th_attention_kind_name(layer->kind);
  for (int64_t h = 0; h < layer->heads && !a->status; h++) {
    long long number = th_nn_head_number(layer, h);
    snprintf(name, sizeof name, "heatmaps/%s_%d_head_%lld.png", kind, layer->layer, number);
    snprintf(title, sizeof title, "%s, layer %d, head %lld", kind_title(layer->kind), layer->layer, number);
    snprintf(titles[h], 32, "head %lld", number);
    maps[h].title = title;
    a->status = th_plot_heatmap(a->plot, run_path(a->run, path, name), &maps[h], a->error);
    maps[h].title = titles[h];
    a->pictures++;
  }
  snprintf(name, sizeof name, "heatmaps/%s_%d.png", kind, layer->layer);
  snprintf(title, sizeof title, "%s, layer %d", kind_title(layer->kind), layer->layer);
  th_grid grid = {.maps = maps, .count = (int)layer->heads, .title = title};
  if (!a->status) a->status = th_plot_grid(a->plot, run_path(a->run, path, name), &grid, a->error);
  a->pictures++;
}

static void draw_attention(void *context, const th_nn_attention *layer, th_seen *seen) {
  artist *a = context;
  if (a->status) return;
  th_heatmap *maps = calloc((size_t)layer->heads, sizeof *maps);
  th_tensor *heads = calloc((size_t)layer->heads, sizeof *heads);
  char(*titles)[32] = calloc((size_t)layer->heads, sizeof *titles);
  if (!maps || !heads || !titles) a->status = th_error_set(a->error, TH_ENOMEM, "no memory for the pictures");
  for (int64_t h = 0; h < layer->heads && !a->status; h++) {
    th_tensor one;
    const th_tensor *w = &seen->weights->value;
    th_view_slice(&one, w, 1, h, h + 1);
    th_view_reshape(&heads[h], &one, 2, (int64_t[]){w->shape[2], w->shape[3]});
    maps[h] =
        (th_heatmap){.weights = &heads[h],
                     .query_labels = layer->kind == TH_ENCODER_SELF ? a->source_labels : a->target_labels,
                     .key_labels = layer->kind == TH_DECODER_SELF ? a->target_labels : a->source_labels};
  }
  if (!a->status) draw_layer(a, layer, maps, titles);
  free(maps);
  free(heads);
  free(titles);
}

th_status look_inside(run *r, const example *e, const th_tap *tap, th_error *error) {
  batch b;
  th_status status = batch_new(&b, 1, r->model->config.max_length, error);
  if (status) return status;
  batch_fill(&b, e, 1);
  th_tape_reset(r->tape);
  th_tape_record(r->tape, false);
  th_tape_train(r->tape, false);
  th_var *memory = th_transformer_encode(r->model, r->tape, &b.source, b.source_length, tap);
  th_transformer_decode(r->model, memory, b.source_length, &b.input, tap);
  const th_error *failed = th_tape_error(r->tape);
  if (failed) status = th_error_set(error, failed->status, "%s", failed->text);
  th_tape_record(r->tape, true);
  th_tape_reset(r->tape);
  batch_free(&b);
  return status;
}

static th_status draw_heads(artist *a, const example *e) {
  th_tap tap = {.see = draw_attention, .context = a};
  th_status status = look_inside(a->run, e, &tap, a->error);
  return status ? status : a->status;
}

/* ---- the curve -------------------------------------------------------------------------------------------- */

#define CURVES 4

static th_status draw_curve(artist *a) {
  static const char *const keys[CURVES] = {"loss", "held_out_loss", "token_accuracy", "exact_match"};
  static const char *const names[CURVES] = {"training loss", "held-out loss", "token accuracy",
                                            "exact match"};
  char metrics[PATH_TEXT], path[PATH_TEXT];
  th_series series[CURVES] = {0};
  double *x[CURVES] = {0}, *y[CURVES] = {0};
  run_path(a->run, metrics, "metrics.jsonl");
  for (int i = 0; i < CURVES && !a->status; i++) {
    int64_t *steps = NULL;
    size_t count = 0;
    a->status = th_metrics_read(metrics, keys[i], &steps, &y[i], &count, a->error);
    if (!a->status && !(x[i] = calloc(count + 1, sizeof *x[i])))
      a->status = th_error_set(a->error, TH_ENOMEM, "no memory for the curve");
    for (size_t k = 0; k < count && !a->status; k++) x[i][k] = (double)steps[k];
    free(steps);
    series[i] = (th_series){.name = names[i], .x = x[i], .y = y[i], .count = (int64_t)count, .right = i >= 2};
  }
  th_curve curve = {.series = series,
                    .count = CURVES,
                    .title = a->run->settings.task,
                    .x = {.name = "step"},
                    .left = {.name = "loss (nats per token)"},
                    .right = {.name = "accuracy"}};
  if (!a->status) a->status = th_plot_curve(a->plot, run_path(a->run, path, "curve.png"), &curve, a->error);
  a->pictures++;
  for (int i = 0; i < CURVES; i++) free(x[i]), free(y[i]);
  return a->status;
}

th_status draw_pictures(run *r, int *count, th_error *error) {
  const data *d = &r->data;
  const example *e = d->held_out;
  char path[PATH_TEXT];
  artist a = {.run = r, .error = error};
  pick_examples(d, 1, &e);
  th_status status = th_directory_make(run_path(r, path, "heatmaps"), error);
  if (!status) status = th_plot_new(&a.plot, TH_PLOT_SYSTEM_FONTS, error);
  if (status) return status;
  a.source_labels = labels_of(d->source, TH_PAD, e->source, e->source_length, TH_EOS);
  a.target_labels = labels_of(d->target, TH_BOS, e->target, e->target_length, TH_PAD);
  if (!a.source_labels || !a.target_labels)
    status = th_error_set(error, TH_ENOMEM, "no memory for the pictures");
  if (!status) status = draw_heads(&a, e);
  if (!status) status = draw_curve(&a);
  if (!status) tell_of_fonts(a.plot, stdout);
  th_plot_free(a.plot);
  free(a.source_labels);
  free(a.target_labels);
  *count = a.pictures;
  return status;
}
