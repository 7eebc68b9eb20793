/* Random numbers that are a function of seed, stream and position: Philox4x32-10. */
#include "random.h"

#include <math.h>
#include <string.h>

/* The multipliers and key steps of the paper; the key steps are the golden ratio and sqrt(3) - 1. */
#define ROUNDS 10
#define MULTIPLY_0 0xD2511F53u
#define MULTIPLY_1 0xCD9E8D57u
#define KEY_STEP_0 0x9E3779B9u
#define KEY_STEP_1 0xBB67AE85u

#define TWO_PI 6.283185307179586476925286766559
#define TWO_TO_MINUS_53 0x1p-53

void th_random_block(th_random random, uint64_t position, uint32_t out[4]) {
  uint32_t c0 = (uint32_t)position, c1 = (uint32_t)(position >> 32);
  uint32_t c2 = (uint32_t)random.stream, c3 = (uint32_t)(random.stream >> 32);
  uint32_t k0 = (uint32_t)random.seed, k1 = (uint32_t)(random.seed >> 32);
  for (int round = 0; round < ROUNDS; round++) {
    uint64_t p0 = (uint64_t)MULTIPLY_0 * c0, p1 = (uint64_t)MULTIPLY_1 * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
    k0 += KEY_STEP_0;
    k1 += KEY_STEP_1;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

static uint64_t join_words(const uint32_t words[2]) { return words[0] | (uint64_t)words[1] << 32; }

/* The 53 high bits, as many as a double holds. */
static double unit(uint64_t bits) { return (double)(bits >> 11) * TWO_TO_MINUS_53; }

uint64_t th_random_u64(th_random random, uint64_t position) {
  uint32_t words[4];
  th_random_block(random, position, words);
  return join_words(words);
}

double th_random_uniform(th_random random, uint64_t position) {
  return unit(th_random_u64(random, position));
}

/* One block gives both of the uniform numbers that Box and Muller need. The other normal number they
 * give, the sine, is thrown away: a number is to depend on its own position only. */
double th_random_normal(th_random random, uint64_t position) {
  uint32_t words[4];
  th_random_block(random, position, words);
  double radius = sqrt(-2 * log(1 - unit(join_words(words)))); /* 1 - [0,1) is never 0 */
  return radius * cos(TWO_PI * unit(join_words(words + 2)));
}

/* The high half of the 128-bit product with n. No number is favoured by more than n / 2^64. */
int64_t th_random_below(th_random random, uint64_t position, int64_t n) {
  uint64_t bits = th_random_u64(random, position), low = bits & UINT32_MAX, high = bits >> 32;
  uint64_t n_low = (uint64_t)n & UINT32_MAX, n_high = (uint64_t)n >> 32;
  uint64_t cross = high * n_low + (low * n_low >> 32);
  uint64_t middle = low * n_high + (cross & UINT32_MAX);
  return (int64_t)(high * n_high + (cross >> 32) + (middle >> 32));
}

/* ---- tensors ---- */

/* What th_fill_uniform and th_fill_normal fill with: first + second * (a number of the stream). */
typedef struct filler {
  double (*draw)(th_random random, uint64_t position);
  double first, second;
  double ceiling; /* no value reaches it; INFINITY for none */
  th_random random;
} filler;

/* Rounding, above all to float, can reach what the number itself stays below. */
static float below_f32(double value, double ceiling) {
  float rounded = (float)value;
  return rounded < ceiling ? rounded : nextafterf((float)ceiling, -INFINITY);
}

static double below_f64(double value, double ceiling) {
  return value < ceiling ? value : nextafter(ceiling, -INFINITY);
}

static void fill_row(const th_tensor *tensor, int64_t offset, int64_t count, int64_t stride,
                     uint64_t position, const filler *with) {
  for (int64_t i = 0; i < count; i++) {
    double value = with->first + with->second * with->draw(with->random, position + (uint64_t)i);
    int64_t at = offset + i * stride;
    if (tensor->dtype == TH_F32) ((float *)tensor->data)[at] = below_f32(value, with->ceiling);
    if (tensor->dtype == TH_F64) ((double *)tensor->data)[at] = below_f64(value, with->ceiling);
  }
}

/* Where row number `row` (all axes but the last) begins in memory. */
static int64_t row_offset(const th_tensor *tensor, int64_t row) {
  int64_t offset = 0;
  for (int axis = tensor->ndim - 2; axis >= 0; axis--) {
    offset += row % tensor->shape[axis] * tensor->stride[axis];
    row /= tensor->shape[axis];
  }
  return offset;
}

static void fill_with(const th_tensor *tensor, const filler *with) {
  int last = tensor->ndim - 1;
  int64_t length = last >= 0 ? tensor->shape[last] : 1, stride = last >= 0 ? tensor->stride[last] : 0;
  int64_t rows = 1;
  for (int axis = 0; axis < last; axis++) rows *= tensor->shape[axis];
  for (int64_t row = 0; row < rows; row++)
    fill_row(tensor, row_offset(tensor, row), length, stride, (uint64_t)(row * length), with);
}

/* Element i, by its row-major index, is the number at position i: a view of other strides gets the
 * same values. Only f32 and f64 are filled; other types are left alone. All values are in [low, high). */
void th_fill_uniform(const th_tensor *tensor, double low, double high, th_random random) {
  double ceiling = low < high ? high : INFINITY;
  fill_with(tensor, &(filler){th_random_uniform, low, high - low, ceiling, random});
}

void th_fill_normal(const th_tensor *tensor, double mean, double deviation, th_random random) {
  fill_with(tensor, &(filler){th_random_normal, mean, deviation, INFINITY, random});
}

/* ---- masks ---- */

#define LANES 64 /* blocks computed side by side: a few of the widest vectors, and a short tail */

/* A shape the compiler vectorises: the words of one place side by side, one loop over them per round. */
typedef struct lanes {
  uint32_t c0[LANES], c1[LANES], c2[LANES], c3[LANES];
} lanes;

static inline void round_lanes(lanes *at, uint32_t k0, uint32_t k1) {
  for (int i = 0; i < LANES; i++) {
    uint64_t p0 = (uint64_t)MULTIPLY_0 * at->c0[i], p1 = (uint64_t)MULTIPLY_1 * at->c2[i];
    at->c0[i] = (uint32_t)(p1 >> 32) ^ at->c1[i] ^ k0;
    at->c1[i] = (uint32_t)p1;
    at->c2[i] = (uint32_t)(p0 >> 32) ^ at->c3[i] ^ k1;
    at->c3[i] = (uint32_t)p0;
  }
}

static void block_lanes(th_random random, uint64_t position, lanes *out) {
  for (uint32_t i = 0; i < LANES; i++) {
    out->c0[i] = (uint32_t)position + i;
    out->c1[i] = (uint32_t)(position >> 32) + (out->c0[i] < i); /* the carry */
    out->c2[i] = (uint32_t)random.stream;
    out->c3[i] = (uint32_t)(random.stream >> 32);
  }
  uint32_t k0 = (uint32_t)random.seed, k1 = (uint32_t)(random.seed >> 32);
  for (int round = 0; round < ROUNDS; round++, k0 += KEY_STEP_0, k1 += KEY_STEP_1) round_lanes(out, k0, k1);
}

/* The four answers of a block are written as one word, its first byte for the first. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define BYTE(answer, place) ((uint32_t)(answer) << (24 - 8 * (place)))
#else
#define BYTE(answer, place) ((uint32_t)(answer) << (8 * (place)))
#endif

static void keep_lanes(const lanes *from, uint32_t threshold, uint8_t *keep) {
  uint32_t packed[LANES];
  for (int i = 0; i < LANES; i++)
    packed[i] = BYTE(from->c0[i] >= threshold, 0) | BYTE(from->c1[i] >= threshold, 1) |
                BYTE(from->c2[i] >= threshold, 2) | BYTE(from->c3[i] >= threshold, 3);
  memcpy(keep, packed, sizeof packed);
}

void th_random_keep(th_random random, int64_t begin, int64_t count, uint32_t threshold, uint8_t *keep) {
  lanes words;
  uint8_t tail[4 * LANES];
  for (int64_t done = 0; done < count; done += 4 * LANES) {
    block_lanes(random, (uint64_t)(begin + done) / 4, &words);
    bool whole = count - done >= 4 * LANES;
    keep_lanes(&words, threshold, whole ? keep + done : tail);
    if (!whole) memcpy(keep + done, tail, (size_t)(count - done));
  }
}
