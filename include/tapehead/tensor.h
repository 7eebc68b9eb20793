/* Tensors: typed, strided arrays, and what they need: errors, memory, threads, random numbers.
 *
 * This is the lowest room of the house. It knows nothing of gradients. */
#ifndef TAPEHEAD_TENSOR_H
#define TAPEHEAD_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
/* Between push and pop stands what the shared library shows, in this header as in the others. */
#pragma GCC visibility push(default)

/* ---- errors ---------------------------------------------------------------------------------- */

typedef enum {
  TH_OK = 0,
  TH_ENOMEM,  /* the machine had no memory left */
  TH_ESHAPE,  /* sizes do not fit each other */
  TH_EDTYPE,  /* element types do not fit each other */
  TH_EINVAL,  /* an argument is outside its range */
  TH_EIO,     /* a file could not be opened, read, written or renamed */
  TH_EFORMAT, /* a file was read, and is not what it should be */
  TH_ENAN     /* anomaly mode met a NaN or an infinity */
} th_status;

/* Filled by the first call that fails; the text is one line without a newline, ready to print. */
typedef struct th_error {
  th_status status;
  char text[512];
} th_error;

#if defined(__GNUC__)
#define TH_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TH_PRINTF(text, first)
#endif

/* Fills `error` (which may be NULL) and returns `status`, so that a caller can `return th_error_set(...)`. */
th_status th_error_set(th_error *error, th_status status, const char *format, ...) TH_PRINTF(3, 4);
#ifdef __clang_analyzer__ /* which looks at one file, and would not see that the status comes back */
#define th_error_set(error, status, ...) ((void)(th_error_set)(error, status, __VA_ARGS__), (status))
#endif

/* ---- tensors --------------------------------------------------------------------------------- */

#define TH_MAX_DIMS 6
#define TH_MAX_ELEMENTS INT32_MAX /* of one tensor: BLAS counts rows and columns in int */

typedef enum {
  TH_F32, /* float: to train */
  TH_F64, /* double: to prove */
  TH_I32, /* token ids */
  TH_U8   /* boolean masks */
} th_dtype;

/* A plain value: copying the struct makes a second view of the same memory. A tensor does not own
 * its memory; whoever made the memory does (a tape's arena, a parameter set, th_tensor_new). */
typedef struct th_tensor {
  th_dtype dtype;
  int ndim; /* 0 is a scalar */
  int64_t shape[TH_MAX_DIMS];
  int64_t stride[TH_MAX_DIMS]; /* in elements, not bytes; 0 repeats one element (broadcast) */
  void *data;
} th_tensor;

size_t th_dtype_size(th_dtype dtype);      /* bytes per element */
const char *th_dtype_name(th_dtype dtype); /* "f32", "f64", "i32", "u8" */

/* A contiguous (row-major) view of `data`, which stays the caller's. */
th_tensor th_tensor_of(void *data, th_dtype dtype, int ndim, const int64_t *shape);

/* The number of elements; -1 for more than TH_MAX_DIMS axes, a negative size or more than TH_MAX_ELEMENTS. */
int64_t th_shape_count(int ndim, const int64_t *shape);

/* A contiguous tensor of zeros on the heap. Free its `data` with th_tensor_free. Fails with
 * TH_ENOMEM, or TH_ESHAPE for a shape that th_shape_count refuses. */
th_status th_tensor_new(th_tensor *tensor, th_dtype dtype, int ndim, const int64_t *shape, th_error *error);
void th_tensor_free(th_tensor *tensor); /* only for what th_tensor_new made; sets data to NULL */

int64_t th_tensor_count(const th_tensor *tensor); /* number of elements */
bool th_tensor_is_contiguous(const th_tensor *tensor);
bool th_tensor_same_shape(const th_tensor *a, const th_tensor *b);

/* One element by its row-major index (not by its place in memory), as double; for tests, files and
 * pictures, not for inner loops. */
double th_tensor_get(const th_tensor *tensor, int64_t index);
void th_tensor_set(const th_tensor *tensor, int64_t index, double value);

/* Copies every element, converting between types; TH_ESHAPE where the shapes differ. */
th_status th_tensor_copy(const th_tensor *to, const th_tensor *from, th_error *error);

/* Views: same memory, other shape and strides. Each returns false, and leaves `view` alone, where
 * the request does not fit: an axis out of range, a slice that runs over the end, or (reshape) a
 * memory layout that only a copy could serve. */
bool th_view_reshape(th_tensor *view, const th_tensor *of, int ndim, const int64_t *shape);
bool th_view_permute(th_tensor *view, const th_tensor *of, const int *axes); /* view axis i is of's axes[i] */
bool th_view_slice(th_tensor *view, const th_tensor *of, int axis, int64_t begin, int64_t end);
bool th_view_broadcast(th_tensor *view, const th_tensor *of, int ndim, const int64_t *shape);

/* Writes "[32,64]" into `text` and returns it. */
#define TH_SHAPE_TEXT 160
char *th_shape_text(char text[TH_SHAPE_TEXT], const th_tensor *tensor);

/* What a row of attention scores [.., queries, keys] may see. All zero: everything. What the pointers
 * name stays the caller's and is only read during the call it is passed to. */
typedef struct th_mask {
  bool causal;                 /* hides key j from query i where j > i + (keys - queries) */
  const int32_t *key_length;   /* [B]: keys from here on are padding; NULL: none are. B is the first axis */
  const int32_t *query_length; /* [B]: queries from here on are padding, and see nothing; NULL: none are */
  const th_tensor *allowed;    /* TH_U8, broadcast to the scores: 0 hides; NULL: nothing more is hidden */
  int64_t window; /* hides key j from query i unless |j - i - (keys - queries)| < window; 0: does not */
} th_mask;

/* ---- arena ----------------------------------------------------------------------------------- */

/* Memory that is given back all at once. It grows by blocks; a reset after growth joins them into
 * one block, so that work of a size once seen allocates nothing. */
typedef struct th_arena th_arena;

th_arena *th_arena_new(void); /* NULL: no memory */
void th_arena_free(th_arena *arena);
void th_arena_reset(th_arena *arena);
void *th_arena_alloc(th_arena *arena, size_t bytes); /* 64-byte aligned, not cleared; NULL: no memory */
/* Gives back what th_arena_alloc made of `bytes`, TH_ARENA_PIECE or more, before all the rest: later requests of such sizes
 * get it first. A reset or a rewind forgets it. */
#define TH_ARENA_PIECE 4096
void th_arena_give_back(th_arena *arena, void *memory, size_t bytes);
/* Rewinding gives back what was handed out since the mark, of which there is one; a reset removes it. */
void th_arena_mark(th_arena *arena);
void th_arena_rewind(th_arena *arena);
size_t th_arena_used(const th_arena *arena); /* bytes handed out since the last reset */

/* ---- threads --------------------------------------------------------------------------------- */

/* A fixed crew of threads, the caller's among them. Work is cut by its size alone, never by the
 * number of threads, so a result is the same bits for any crew. NULL stands for the caller alone. */
typedef struct th_pool th_pool;

th_pool *th_pool_new(int threads); /* threads < 1: one per processor. NULL: no memory or no threads */
void th_pool_free(th_pool *pool);
int th_pool_threads(const th_pool *pool);

typedef void th_task(void *context, int64_t index);
/* Calls task(context, i) once for every i in [0, count), in any order, and returns when all are done. */
void th_parallel(th_pool *pool, int64_t count, th_task *task, void *context);

/* ---- random numbers -------------------------------------------------------------------------- */

/* Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3): a function of
 * seed, stream and position, with no state. The same three give the same number on any machine,
 * on any thread, in any order. */
typedef struct th_random {
  uint64_t seed;
  uint64_t stream;
} th_random;

void th_random_block(th_random random, uint64_t position, uint32_t out[4]); /* the four words at `position` */
uint64_t th_random_u64(th_random random, uint64_t position);
double th_random_uniform(th_random random, uint64_t position); /* [0, 1), 53 bits */
double th_random_normal(th_random random, uint64_t position);  /* mean 0, variance 1 (Box & Muller 1958) */
int64_t th_random_below(th_random random, uint64_t position, int64_t n); /* 0 .. n-1, n > 0 */

void th_fill_uniform(const th_tensor *tensor, double low, double high, th_random random);
void th_fill_normal(const th_tensor *tensor, double mean, double deviation, th_random random);
void th_fill(const th_tensor *tensor, double value);

/* ---- this machine ---------------------------------------------------------------------------- */

const char *th_blas_kernels(void); /* which processor's kernels OpenBLAS runs, e.g. "Haswell" */
/* Those it should rather run here, for the value of OPENBLAS_CORETYPE, which it reads as it is loaded: a program that
 * wants them sets it and starts itself again, as main.c of examples/translate does. NULL: those it runs are as good,
 * or this library was built for the processor and does not need them. The text is static. */
const char *th_blas_better_kernels(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
