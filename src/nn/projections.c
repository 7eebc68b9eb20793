/* Queries, keys and values from tokens. */
#include "methods.h"
#include "name.h"

#include "../tensor/kernels.h"

/* ---- what they need ---------------------------------------------------------------------------------------- */

/* Rows of in_proj_weight: the query's, the key's, the value's. */
typedef struct row_counts {
  int64_t query, key, value;
} row_counts;

static row_counts rows_of(const th_nn_attention *layer) {
  bool has_keys = layer->method.kind != TH_ATTENTION_LSH; /* LSH: they are the queries */
  return (row_counts){layer->heads * layer->key_width, has_keys ? layer->key_heads * layer->key_width : 0,
                      layer->value_heads * layer->value_width};
}

static bool is_collaborative(const th_nn_attention *layer) {
  return layer->method.kind == TH_ATTENTION_COLLABORATIVE;
}

static void make_shared(th_params *set, const char *name, th_nn_attention *layer) {
  int64_t shared = layer->method.shared_width, h = layer->heads, e = layer->width;
  th_init xavier = {.kind = TH_INIT_XAVIER}, blocks = {.kind = TH_INIT_BLOCKS},
          zeros = {.kind = TH_INIT_ZEROS};
  char value[TH_NAME_MAX];
  th_name_under(value, name, "value_proj");
  layer->shared = (th_nn_collaboration){
      .query = th_params_add(set, name, "shared_query_weight", xavier, 2, (int64_t[]){shared, e}),
      .key = th_params_add(set, name, "shared_key_weight", xavier, 2, (int64_t[]){shared, e}),
      .mixing = th_params_add(set, name, "mixing", blocks, 2, (int64_t[]){h, shared}),
      .content_bias = th_params_add(set, name, "content_bias", zeros, 2, (int64_t[]){h, e}),
      .value = th_nn_linear_make(set, value, e, h * layer->value_width, true)};
}

void th_nn_projections_make(th_params *set, const char *name, th_nn_attention *layer) {
  row_counts rows = rows_of(layer);
  if (is_collaborative(layer)) {
    make_shared(set, name, layer);
    return;
  }
  /* with D = V the whole is several matrices of so many rows, or was, and each is initialised as one */
  int64_t each = layer->key_width == layer->value_width ? rows.query : 0;
  th_init init = {.kind = TH_INIT_XAVIER, .fan_out = each};
  int64_t all = rows.query + rows.key + rows.value;
  layer->in_weight = th_params_add(set, name, "in_proj_weight", init, 2, (int64_t[]){all, layer->width});
  layer->in_bias = th_params_add(set, name, "in_proj_bias", (th_init){.kind = TH_INIT_ZEROS}, 1, &all);
}

int64_t th_nn_key_depth(const th_nn_attention *layer) {
  return is_collaborative(layer) ? layer->method.shared_width + layer->heads : layer->key_width;
}

int64_t th_nn_read_rows(const th_nn_attention *layer) {
  return is_collaborative(layer) ? layer->method.shared_width : layer->key_width;
}

void th_nn_read_matrix(const th_nn_attention *layer, int64_t place, bool key, double *matrix) {
  int64_t rows = th_nn_read_rows(layer), e = layer->width;
  const th_nn_collaboration *shared = &layer->shared;
  const th_param *from = !is_collaborative(layer) ? layer->in_weight : key ? shared->key : shared->query;
  bool has_keys = rows_of(layer).key > 0;
  int64_t first = is_collaborative(layer) ? 0
                  : key && has_keys ? rows_of(layer).query + place * layer->key_heads / layer->heads * rows
                                    : place * rows;
  for (int64_t i = 0; i < rows * e; i++) {
    double mixing = is_collaborative(layer) ? th_tensor_get(&shared->mixing->value, place * rows + i / e) : 1;
    matrix[i] = mixing * th_tensor_get(&from->value, first * e + i);
  }
}

/* ---- from one matrix ----------------------------------------------------------------------------------------- */

/* x [B,T,E], which may be packed, times rows begin..end of the projections: [B,T,end-begin]. */
static th_var *project(const th_nn_attention *layer, th_var *x, const th_packing *packing, int64_t begin,
                       int64_t end) {
  th_var *weight = th_use(x->tape, layer->in_weight), *bias = th_use(x->tape, layer->in_bias);
  return th_unpack(packing, th_linear(x, th_slice(weight, 0, begin, end), th_slice(bias, 0, begin, end)));
}

/* Columns begin..begin+heads*width of x [B,T,..] seen as [B,heads,T,width]: a view. */
static th_var *split_heads(th_var *x, int64_t begin, int64_t heads, int64_t width) {
  th_var *part = th_slice(x, 2, begin, begin + heads * width);
  th_var *split = th_reshape(part, 4, (int64_t[]){part->value.shape[0], part->value.shape[1], heads, width});
  return th_permute(split, (int[]){0, 2, 1, 3});
}

/* The keys and values in columns from..  of x. */
static void split_memory(const th_nn_attention *layer, th_var *x, int64_t from, th_seen *seen) {
  seen->key = split_heads(x, from, layer->key_heads, layer->key_width);
  seen->value = split_heads(x, from + rows_of(layer).key, layer->value_heads, layer->value_width);
}

/* ---- shared by all heads -------------------------------------------------------------------------------------- */

/* Behind a query of head h stand H numbers, of which the h-th is 1, and behind a key what each head's content bias
 * says of it: their product is the bias. [H,1,H]. */
static th_var *own_number(th_tape *tape, th_dtype dtype, int64_t heads) {
  th_tensor ones;
  if (!th_keep_tensor(tape, &ones, dtype, 3, (int64_t[]){heads, 1, heads})) return NULL;
  th_fill(&ones, 0);
  for (int64_t h = 0; h < heads; h++) th_tensor_set(&ones, h * heads + h, 1);
  return th_constant(tape, &ones);
}

static th_var *mixed_queries(const th_nn_attention *layer, th_var *x) {
  int64_t shared = layer->method.shared_width, h = layer->heads;
  th_var *all = th_linear(x, th_use(x->tape, layer->shared.query), NULL);
  th_var *own = own_number(x->tape, x->value.dtype, h);
  if (!own || th_tape_error(x->tape)) return x;
  int64_t b = x->value.shape[0], t = x->value.shape[1];
  th_var *mixing = th_reshape(th_use(x->tape, layer->shared.mixing), 3, (int64_t[]){h, 1, shared});
  th_var *mixed = th_mul(th_reshape(all, 4, (int64_t[]){b, 1, t, shared}), mixing);
  return th_concat(2, (th_var *[]){mixed, th_broadcast(own, 4, (int64_t[]){b, h, t, h})}, 3);
}

static void shared_memory(const th_nn_attention *layer, th_var *memory, th_seen *seen) {
  th_tape *tape = memory->tape;
  th_var *keys = th_linear(memory, th_use(tape, layer->shared.key), NULL);
  th_var *content = th_linear(memory, th_use(tape, layer->shared.content_bias), NULL);
  th_var *both = th_concat(2, (th_var *[]){keys, content}, 2);
  seen->key = split_heads(both, 0, 1, th_nn_key_depth(layer));
  th_var *value = th_nn_linear_forward(&layer->shared.value, memory);
  seen->value = split_heads(value, 0, layer->heads, layer->value_width);
}

/* ---- any ------------------------------------------------------------------------------------------------------ */

void th_nn_project_query(const th_nn_attention *layer, th_var *x, const th_packing *packing, th_seen *seen) {
  seen->query = is_collaborative(layer) ? mixed_queries(layer, th_unpack(packing, x))
                                        : split_heads(project(layer, x, packing, 0, rows_of(layer).query), 0,
                                                      layer->heads, layer->key_width);
}

void th_nn_project_memory(const th_nn_attention *layer, th_var *memory, const th_packing *packing,
                          th_seen *seen) {
  row_counts rows = rows_of(layer);
  int64_t begin = rows.key ? rows.query : 0, end = rows.query + rows.key + rows.value;
  if (is_collaborative(layer)) shared_memory(layer, th_unpack(packing, memory), seen);
  else if (rows.key) split_memory(layer, project(layer, memory, packing, begin, end), 0, seen);
  else {
    th_var *both = project(layer, memory, packing, 0, end);
    seen->key = split_heads(both, 0, layer->heads, layer->key_width);
    seen->value = split_heads(both, rows.query, layer->value_heads, layer->value_width);
  }
}

/* In as few products as the inputs allow. */
void th_nn_project(const th_nn_attention *layer, th_var *x, const th_packing *packing, th_var *memory,
                   const th_packing *memory_packing, th_seen *seen) {
  row_counts rows = rows_of(layer);
  if (!rows.key && !is_collaborative(layer)) {
    th_nn_project_memory(layer, memory, memory_packing, seen);
    seen->query = seen->key;
  } else if (is_collaborative(layer) || layer->separate || memory != x) {
    th_nn_project_query(layer, x, packing, seen);
    th_nn_project_memory(layer, memory, memory_packing, seen);
  } else {
    th_var *all = project(layer, x, packing, 0, rows.query + rows.key + rows.value);
    seen->query = split_heads(all, 0, layer->heads, layer->key_width);
    split_memory(layer, all, rows.query, seen);
  }
}
