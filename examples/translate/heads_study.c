/* The study of one run's heads, stage by stage. */
#include "heads.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *removal_name(removal_order order) {
  static const char *const names[ORDERS] = {"single", "importance", "greedy"};
  return names[order];
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

void *head_study_room(head_study *h, size_t count, size_t size) {
  void *room = th_arena_alloc(h->arena, count * size);
  return room ? memset(room, 0, count * size) : NULL;
}

/* Arrays over heads, in one place. */
static bool make_room(head_study *h) {
  size_t n = (size_t)h->count;
  bool enough = (h->head = head_study_room(h, n, sizeof *h->head)) &&
                (h->label = head_study_room(h, n, sizeof *h->label)) &&
                (h->looks = head_study_room(h, n, sizeof *h->looks)) &&
                (h->worth = head_study_room(h, n, sizeof *h->worth)) &&
                (h->named = head_study_room(h, n, sizeof *h->named)) &&
                (h->pattern = head_study_room(h, n, sizeof *h->pattern)) &&
                (h->rise = head_study_room(h, n, sizeof *h->rise)) &&
                (h->own = head_study_room(h, n, sizeof *h->own)) &&
                (h->distance = head_study_room(h, n * n, sizeof *h->distance)) &&
                (h->query = head_study_room(h, n * n, sizeof *h->query)) &&
                (h->key = head_study_room(h, n * n, sizeof *h->key));
  for (int i = 0; i < ORDERS && enough; i++)
    enough = (h->removal[i].order = head_study_room(h, n, sizeof *h->removal[i].order)) &&
             (h->removal[i].after = head_study_room(h, n, sizeof *h->removal[i].after));
  return enough;
}

static void introduce_heads(head_study *h, const run *r) {
  const th_transformer_config *c = &r->model->config;
  snprintf(h->directory, sizeof h->directory, "%s", r->directory);
  snprintf(h->title, sizeof h->title, "%s", r->settings.task);
  h->parameters = th_params_elements(r->model->params);
  h->width = c->layer.width, h->heads = c->layer.heads;
  h->encoder_layers = c->encoder_layers, h->decoder_layers = c->decoder_layers;
  for (int i = 0; i < h->count; i++) {
    h->head[i] = th_head_at(r->model, i);
    th_head_label(h->label[i], h->head[i]);
    if (!h->kinds || h->kind[h->kinds - 1].kind != h->head[i].kind)
      h->kind[h->kinds++] = (head_kind){.kind = h->head[i].kind, .first = i};
    h->kind[h->kinds - 1].count++;
  }
}

/* ---- what each head does and is worth ------------------------------------------------------------------------ */

static th_status judge(head_study *h, run *r, study_set *all, stage *s, th_error *error) {
  stage_begin(s, "what each head looks at");
  th_status status = th_study_looks(r->model, r->tape, &all->data, h->looks, error);
  if (status) return status;
  stage_begin(s, "what each head is worth");
  status = th_study_worth(r->model, r->tape, &all->data, &h->whole, h->worth, error);
  for (int i = 0; i < h->count && !status; i++) {
    h->rise[i] = h->worth[i].off.loss - h->whole.loss;
    h->named[i] = th_head_job(&h->looks[i], h->rise[i]);
    h->pattern[i] = th_head_job(&h->looks[i], NAN).job;
  }
  return status;
}

/* ---- pruning --------------------------------------------------------------------------------------------------- */

/* From the least value on; of equal ones the first head comes first. */
static void order_by(const double *value, int count, int *order) {
  for (int i = 0; i < count; i++) {
    int at = i;
    for (; at && value[order[at - 1]] > value[i]; at--) order[at] = order[at - 1];
    order[at] = i;
  }
}

static th_status choose_orders(head_study *h, run *r, int sequences, stage *s, th_error *error) {
  study_set few;
  double *importance = head_study_room(h, (size_t)h->count, sizeof *importance);
  double *gradient = head_study_room(h, (size_t)h->count, sizeof *gradient);
  if (!importance || !gradient) return th_error_set(error, TH_ENOMEM, "no memory for the order of heads");
  for (int i = 0; i < h->count; i++)
    importance[i] = h->worth[i].importance, gradient[i] = -h->worth[i].gradient;
  h->gradient_agrees = th_rank_correlation(h->count, gradient, h->rise);
  h->importance_agrees = th_rank_correlation(h->count, importance, h->rise);
  order_by(h->rise, h->count, h->removal[ORDER_SINGLE].order);
  order_by(importance, h->count, h->removal[ORDER_IMPORTANCE].order);
  th_status status = study_set_make(&few, r, sequences, s, error);
  if (status) return status;
  stage_begin(s, "which heads can go: greedy order");
  removal *greedy = &h->removal[ORDER_GREEDY];
  status = th_study_remove_greedily(r->model, r->tape, &few.data, greedy->order, greedy->after, error);
  study_set_free(&few);
  return status;
}

/* All orders are measured over all sequences, the greedy one too, so that they can be compared. */
static th_status prune(head_study *h, run *r, study_set *all, int sequences, stage *s, th_error *error) {
  th_status status = choose_orders(h, r, sequences, s, error);
  for (int i = 0; i < ORDERS && !status; i++) {
    stage_begin(s, "how many heads can go");
    status = th_study_remove(r->model, r->tape, &all->data, h->removal[i].order, h->removal[i].after, error);
  }
  return status;
}

int heads_to_spare(const head_study *h, removal_order order) {
  int count = 0;
  while (count < h->count && h->removal[order].after[count].exact_match >= h->whole.exact_match - 0.01)
    count++;
  return count;
}

/* ---- likeness ---------------------------------------------------------------------------------------------------- */

static th_status compare_kind(head_study *h, head_kind *k, th_error *error) {
  int n = k->count;
  k->distance = head_study_room(h, (size_t)n * (size_t)n, sizeof *k->distance);
  k->place = head_study_room(h, 2 * (size_t)n, sizeof *k->place);
  k->merges = head_study_room(h, (size_t)n, sizeof *k->merges);
  if (!k->distance || !k->place || !k->merges)
    return th_error_set(error, TH_ENOMEM, "no memory for distances between heads");
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      k->distance[i * n + j] = h->distance[(k->first + i) * h->count + k->first + j];
  th_status status = th_study_map(n, k->distance, k->place, &k->kept, error);
  return status ? status : th_study_cluster(n, k->distance, k->merges, error);
}

static th_status compare(head_study *h, run *r, study_set *all, stage *s, th_error *error) {
  stage_begin(s, "which heads are alike");
  th_status status = th_study_distances(r->model, r->tape, &all->data, h->distance, error);
  if (!status) status = th_study_subspaces(r->model, h->query, h->key, h->own, error);
  if (!status) status = study_mixing(h, r->model, error);
  for (int i = 0; i < h->kinds && !status; i++) status = compare_kind(h, &h->kind[i], error);
  for (int i = 0; i < h->kinds && !status; i++) {
    head_kind *k = &h->kind[i];
    int layers = h->head[k->first + k->count - 1].layer + 1;
    if (!(k->redundancy = head_study_room(h, (size_t)layers, sizeof *k->redundancy)))
      return th_error_set(error, TH_ENOMEM, "no memory for distances between heads");
    for (k->layers = 0; k->layers < layers; k->layers++)
      k->redundancy[k->layers] = th_study_redundancy(r->model, h->distance, k->kind, k->layers);
  }
  return status;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

th_status head_study_make(head_study *h, run *r, const heads_options *o, stage *s, th_error *error) {
  study_set all;
  *h = (head_study){.arena = th_arena_new(), .count = th_head_count(r->model), .pairs = o->pairs};
  if (!h->arena || !make_room(h)) return th_error_set(error, TH_ENOMEM, "no memory for the study");
  introduce_heads(h, r);
  if (!h->count) return th_error_set(error, TH_EFORMAT, "%s: it has no heads left to study", r->directory);
  if (!r->data.held_out_count)
    return th_error_set(error, TH_EFORMAT, "%s: it has no held-out sequences: want --pairs FILE",
                        r->directory);
  h->sequences = r->data.held_out_count < o->sequences ? r->data.held_out_count : o->sequences;
  th_status status = run_use_step(r, o->weights, &h->step, error);
  if (!status) status = study_set_make(&all, r, h->sequences, s, error);
  if (status) return status;
  h->tokens = all.tokens;
  status = judge(h, r, &all, s, error);
  if (!status) status = prune(h, r, &all, o->pruning, s, error);
  if (!status) status = compare(h, r, &all, s, error);
  study_set_free(&all);
  if (!status) status = sentences_make(h, r, o->sentences, error);
  return status ? status : study_time(h, r, s, error);
}

void head_study_free(head_study *h) {
  sentences_free(h);
  th_arena_free(h->arena);
  *h = (head_study){0};
}
