/* The cross-attention of one decoded line: the last layer's heads as a picture, or all of them as an array. */
#include "commands.h"
#include "options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct seen_heads {
  th_tensor all; /* [layers,heads,target,source]; NAN: a head that was removed */
  bool any;
  th_status status;
  th_error *error;
} seen_heads;

static void see(void *context, const th_nn_attention *layer, th_seen *seen) {
  seen_heads *s = context;
  const th_tensor *weights = &seen->weights->value; /* [1,H,T,S] */
  th_tensor of_layer, to, from;
  if (layer->kind != TH_CROSS || s->status) return;
  th_view_slice(&of_layer, &s->all, 0, layer->layer, layer->layer + 1);
  for (int64_t h = 0; h < layer->heads && !s->status; h++) {
    int64_t number = th_nn_head_number(layer, h);
    th_view_slice(&to, &of_layer, 1, number, number + 1);
    th_view_slice(&from, weights, 1, h, h + 1);
    s->status = th_tensor_copy(&to, &from, s->error);
  }
  s->any = true;
}

static th_status draw_last_layer(const th_tensor *all, const th_nn_attention *last, const char *const *rows,
                                 const char *const *columns, const char *path, th_error *error) {
  int64_t layers = all->shape[0], heads = last->heads;
  if (!heads)
    return th_error_set(error, TH_EINVAL, "--attention %s: the last layer has no cross-attention left", path);
  th_heatmap *maps = calloc((size_t)heads, sizeof *maps);
  th_tensor *weights = calloc((size_t)heads, sizeof *weights), layer, head;
  char(*titles)[32] = calloc((size_t)heads, sizeof *titles), title[64];
  th_plot *plot = NULL;
  th_status status = maps && weights && titles ? th_plot_new(&plot, TH_PLOT_SYSTEM_FONTS, error)
                                               : th_error_set(error, TH_ENOMEM, "no memory for the picture");
  th_view_slice(&layer, all, 0, layers - 1, layers);
  for (int64_t h = 0; h < heads && !status; h++) {
    int64_t number = th_nn_head_number(last, h);
    th_view_slice(&head, &layer, 1, number, number + 1);
    th_view_reshape(&weights[h], &head, 2, &all->shape[2]);
    snprintf(titles[h], sizeof *titles, "head %lld", (long long)number);
    maps[h] =
        (th_heatmap){.weights = &weights[h], .query_labels = rows, .key_labels = columns, .title = titles[h]};
  }
  snprintf(title, sizeof title, "cross-attention, layer %lld", (long long)layers - 1);
  th_grid grid = {
      .maps = maps, .count = (int)heads, .title = title, .query_axis = "written", .key_axis = "read"};
  if (!status) status = th_plot_grid(plot, path, &grid, error);
  if (!status) tell_of_fonts(plot, stderr);
  th_plot_free(plot);
  free(maps);
  free(weights);
  free(titles);
  return status;
}

th_status write_attention(run *r, const int32_t *source, int64_t source_length, const th_hypothesis *made,
                          const char *path, th_error *error) {
  const th_transformer_config *c = &r->model->config;
  /* the decoder reads all but the last token, after the first mark */
  example e = {source, made->tokens, source_length, made->length - 1};
  seen_heads s = {.error = error};
  th_status status =
      th_tensor_new(&s.all, TH_F32, 4,
                    (int64_t[]){c->decoder_layers, c->layer.heads, made->length, source_length + 1}, error);
  if (!status) th_fill(&s.all, NAN);
  if (!status) status = look_inside(r, &e, &(th_tap){.see = see, .context = &s}, error);
  if (!status) status = s.status;
  if (!status && !s.any)
    status = th_error_set(error, TH_EINVAL, "--attention: the model has no cross-attention");
  if (!status && name_ends_in(path, ".npy")) status = th_npy_save(path, &s.all, error);
  else if (!status) {
    const char **rows = labels_of(r->data.target, TH_PAD, made->tokens, made->length, TH_PAD),
               **columns = labels_of(r->data.source, TH_PAD, source, source_length, TH_EOS);
    status = rows && columns ? draw_last_layer(&s.all, &r->model->decoder[c->decoder_layers - 1].cross, rows,
                                               columns, path, error)
                             : th_error_set(error, TH_ENOMEM, "no memory for the picture");
    free(rows);
    free(columns);
  }
  th_tensor_free(&s.all);
  return status;
}
