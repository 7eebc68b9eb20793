/* Scaled dot-product attention (Vaswani et al. 2017, equation 1), one head of one sequence at a time. */
#include "rows.h"
#include "vecmath.h"

#include <math.h>
#include <string.h>

#define AT_ONCE 4096 /* scores whose exponentials are taken together: they stay in the first cache */

#define TH_KERNELS "attention_kernel.inc"
#include "each_real.h"

#define SEQUENCES 8          /* and more: each is one task */
#define SMALL_WORK (1 << 15) /* multiply-adds below which waking other threads costs more than it brings */

char *th_head_of(const th_tensor *x, int64_t head, int64_t heads) {
  if (!x->data) return NULL;
  int64_t h = head % heads * x->shape[1] / heads, b = head / heads;
  return (char *)x->data + (b * x->stride[0] + h * x->stride[1]) * (int64_t)th_dtype_size(x->dtype);
}

int64_t th_head_ld(const th_tensor *x) { return x->shape[2] == 1 ? x->shape[3] : x->stride[2]; }

/* The part of a head's weights that is made. */
typedef struct {
  int64_t rows, columns;
} part;

static part part_of(const th_attention_job *j, int64_t head) {
  int64_t b = head / j->weights.shape[1];
  return (part){j->row_length ? j->row_length[b] : j->weights.shape[2],
                j->column_length ? j->column_length[b] : j->weights.shape[3]};
}

/* The draws of a head's dropout are those of all of its weights, whatever is made of them. */
static void drop(const th_attention_job *j, int64_t head, part of, char *from, char *to) {
  int64_t rows = j->weights.shape[2], columns = j->weights.shape[3];
  TH_FOR(j->q.dtype, keep_rows, of.rows, of.columns, j->keep + head * rows * columns, columns, j->keep_scale,
         (void *)from, (void *)to);
}

static void forward_head(const th_attention_job *j, int64_t head) {
  th_dtype dtype = j->q.dtype;
  part of = part_of(j, head);
  int64_t heads = j->weights.shape[1], depth = j->q.shape[3], width = j->v.shape[3],
          size = (int64_t)th_dtype_size(dtype), ld = th_head_ld(&j->out);
  char *p = th_head_of(&j->weights, head, heads), *used = p, *out = th_head_of(&j->out, head, heads);
  int64_t rows = of.columns ? of.rows : 0; /* others see nothing */
  TH_FOR(dtype, clear_rows, j->out.shape[2] - rows, width, (void *)(out + rows * ld * size), ld);
  if (!rows) return;
  th_gemm(dtype, false, true, rows, of.columns, depth, j->scale, th_head_of(&j->q, head, heads),
          th_head_ld(&j->q), th_head_of(&j->k, head, heads), th_head_ld(&j->k), 0, p, of.columns);
  for (int64_t i = 0; i < rows && j->bias.data; i++)
    TH_FOR(dtype, add_run, of.columns,
           (void *)(th_head_of(&j->bias, head, heads) + i * j->bias.stride[2] * size), j->bias.stride[3],
           (void *)(p + i * of.columns * size));
  TH_FOR(dtype, weigh_head, j, head, rows, of.columns, (void *)p);
  if (j->dropped.data) drop(j, head, of, p, used = th_head_of(&j->dropped, head, heads));
  th_gemm(dtype, false, false, rows, width, of.columns, 1, used, of.columns, th_head_of(&j->v, head, heads),
          th_head_ld(&j->v), 0, out, ld);
}

static void backward_head(const th_attention_job *j, int64_t head) {
  th_dtype dtype = j->q.dtype;
  part of = part_of(j, head);
  int64_t heads = j->weights.shape[1], rows = of.rows, columns = of.columns, depth = j->q.shape[3],
          width = j->v.shape[3], size = (int64_t)th_dtype_size(dtype);
  char *p = th_head_of(&j->weights, head, heads), *g = th_head_of(&j->gscores, head, heads),
       *gout = th_head_of(&j->gout, head, heads);
  if (!rows || !columns) return;
  if (j->gv.data)
    th_gemm(dtype, true, false, columns, width, rows, 1,
            j->dropped.data ? th_head_of(&j->dropped, head, heads) : p, columns, gout, th_head_ld(&j->gout),
            1, th_head_of(&j->gv, head, heads), th_head_ld(&j->gv));
  th_gemm(dtype, false, true, rows, columns, width, 1, gout, th_head_ld(&j->gout),
          th_head_of(&j->v, head, heads), th_head_ld(&j->v), 0, g, columns);
  if (j->dropped.data) drop(j, head, of, g, g);
  for (int64_t i = 0; i < rows; i++)
    TH_FOR(dtype, softmax_inplace_backward, columns, (void *)(p + i * columns * size),
           (void *)(g + i * columns * size));
  if (j->gq.data)
    th_gemm(dtype, false, false, rows, depth, columns, j->scale, g, columns, th_head_of(&j->k, head, heads),
            th_head_ld(&j->k), 1, th_head_of(&j->gq, head, heads), th_head_ld(&j->gq));
  if (j->gk.data)
    th_gemm(dtype, true, false, columns, depth, rows, j->scale, g, columns, th_head_of(&j->q, head, heads),
            th_head_ld(&j->q), 1, th_head_of(&j->gk, head, heads), th_head_ld(&j->gk));
}

/* Heads that add to the same gradients of keys, values or a bias are one task, so that they do it in turn. */
int64_t th_heads_together(const th_attention_job *j) {
  int64_t batch = j->weights.shape[0], heads = j->weights.shape[1];
  if (j->gbias.data && batch > 1 && !j->gbias.stride[0]) return batch * heads;
  if (j->gbias.data && heads > 1 && !j->gbias.stride[1]) return heads;
  int64_t share_key = heads / j->k.shape[1], share_value = heads / j->v.shape[1];
  int64_t together = share_key;
  while (together % share_value) together += share_key;
  return together;
}

/* Some neighbouring heads. */
typedef struct {
  const th_attention_job *job;
  void (*head)(const th_attention_job *job, int64_t head);
  int64_t heads; /* of a task */
} share;

static void run_share(void *context, int64_t task) {
  const share *s = context;
  for (int64_t head = task * s->heads; head < (task + 1) * s->heads; head++) s->head(s->job, head);
}

/* Threads that work on heads of one sequence would write to neighbouring lines of cache; with enough sequences each has its own. */
static void run(th_pool *pool, share s, int64_t together) {
  int64_t batch = s.job->weights.shape[0], heads = s.job->weights.shape[1];
  if (batch * heads == 0) return;
  if (th_tensor_count(&s.job->weights) * s.job->q.shape[3] < SMALL_WORK) pool = NULL;
  s.heads = batch >= SEQUENCES && heads > together ? heads : together;
  th_blas_one_thread();
  th_parallel(pool, batch * heads / s.heads, run_share, &s);
}

void th_k_attention(th_pool *pool, const th_attention_job *job) {
  run(pool, (share){job, forward_head, 0}, 1);
}

void th_k_attention_backward(th_pool *pool, const th_attention_job *job) {
  if (job->weights.shape[0] * job->weights.shape[1] > 0)
    run(pool, (share){job, backward_head, 0}, th_heads_together(job));
}
