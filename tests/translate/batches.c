/* Batches by tokens: full, of one length, and a function of the seed and their number alone. */
#include "../../examples/translate/data.h"
#include "../translate_run.h"

static settings s;
static data d;
static th_error error;

#define assert_ok(call) cr_assert_eq(call, TH_OK, "%s", error.text)

enum { LINES = 700, LONGEST = 40 };

/* Sources and targets of 1 to LONGEST letters, each source another. */
static void put_lines(void) {
  FILE *file = fopen("pairs.tsv", "w");
  for (int i = 0; i < LINES; i++) {
    const th_random random = {1, (uint64_t)i};
    int64_t source = th_random_below(random, 0, LONGEST - 4),
            target = 1 + th_random_below(random, 1, LONGEST);
    fprintf(file, "%.*s%d\t%.*s\n", (int)source, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
            1000 + i, (int)target, "zyxwvutsrqponmlkjihgfedcbazyxwvutsrqponmlkjihgfedcba");
  }
  cr_assert_eq(fclose(file), 0);
}

static void open_pairs(data *opened, int64_t batch_tokens, int64_t seed) {
  given flags = {0};
  s = (settings){.pairs = "pairs.tsv"};
  settings_defaults(&s, &flags);
  s.batch_tokens = batch_tokens, s.seed = seed;
  data_free(opened);
  assert_ok(data_pairs(opened, &s, "pairs.tsv", NULL, NULL, NULL, &error));
}

static void begin(void) {
  enter_directory();
  error = (th_error){0};
  d = (data){0};
  put_lines();
}

static void end(void) {
  data_free(&d);
  leave_directory();
}

TestSuite(translate_batches, .init = begin, .fini = end);

/* How many tokens the pairs in d.picked take, with marks and padding. */
static int64_t padded(int64_t count) {
  int64_t source = 0, target = 0;
  for (int64_t i = 0; i < count; i++) {
    if (d.picked[i].source_length > source) source = d.picked[i].source_length;
    if (d.picked[i].target_length > target) target = d.picked[i].target_length;
  }
  return count * (source + 1 + target + 1);
}

static int64_t own(const example *e) { return e->source_length + 1 + e->target_length + 1; }

static int64_t index_of(const example *e) {
  int64_t i = 0;
  while (i < d.train_count && d.train[i].source != e->source) i++;
  cr_assert_lt(i, d.train_count, "a pair that is not of the training part");
  return i;
}

/* Takes batches from `number` on until each pair was taken once; the number of the next. */
static int64_t take_epoch(int64_t number, int64_t most, int64_t *all, int64_t *batches) {
  bool *taken = calloc((size_t)d.train_count, sizeof *taken);
  for (int64_t left = d.train_count; left > 0; number++) {
    int64_t count = pairs_pick(&d, number);
    cr_assert(count >= 1 && count <= left);
    cr_assert(count == 1 || padded(count) <= most, "batch %d: %d tokens", (int)number, (int)padded(count));
    *all += padded(count), ++*batches;
    for (int64_t i = 0; i < count; i++) {
      int64_t which = index_of(&d.picked[i]);
      cr_assert_not(taken[which], "twice in an epoch");
      taken[which] = true;
    }
    left -= count;
  }
  free(taken);
  return number;
}

Test(translate_batches, an_epoch_takes_every_pair_once_in_batches_that_are_full_and_little_padded) {
  const int64_t most = 500;
  int64_t all = 0, batches = 0, unpadded = 0, number = 1;
  open_pairs(&d, most, 1);
  for (int64_t i = 0; i < d.train_count; i++) unpadded += own(&d.train[i]);
  for (int epoch = 0; epoch < 3; epoch++) number = take_epoch(number, most, &all, &batches);
  cr_assert_eq(number, batches + 1);
  cr_expect_lt((double)all, 1.5 * 3 * (double)unpadded, "%d tokens, %d without padding", (int)all,
               3 * (int)unpadded);
  cr_expect_gt((double)all / (double)batches, 0.85 * most, "%d tokens in %d batches", (int)all, (int)batches);
}

static void assert_same_batch(data *a, data *b, int64_t number) {
  int64_t count = pairs_pick(a, number);
  cr_assert_eq(pairs_pick(b, number), count, "batch %d", (int)number);
  for (int64_t i = 0; i < count; i++) {
    const example *x = &a->picked[i], *y = &b->picked[i];
    cr_assert(x->source_length == y->source_length && x->target_length == y->target_length &&
              !memcmp(x->source, y->source, (size_t)x->source_length * sizeof *x->source));
  }
}

Test(translate_batches, a_batch_depends_on_the_seed_and_its_number_alone) {
  data other = {0};
  open_pairs(&d, 300, 1);
  for (int64_t number = 1; number < 400; number++) pairs_pick(&d, number);
  for (int64_t number = 500; number > 0; number -= 83) { /* a fresh one each, and back and forth */
    open_pairs(&other, 300, 1);
    assert_same_batch(&d, &other, number);
  }
  data_free(&other);
}

Test(translate_batches, another_seed_or_epoch_makes_other_batches) {
  int64_t all = 0, batches = 0, first = index_of((open_pairs(&d, 300, 1), pairs_pick(&d, 1), &d.picked[0]));
  int64_t next = take_epoch(1, 300, &all, &batches);
  pairs_pick(&d, next);
  cr_expect_neq(index_of(&d.picked[0]), first);
  open_pairs(&d, 300, 2);
  pairs_pick(&d, 1);
  cr_expect_neq(index_of(&d.picked[0]), first);
}

/* The room that batch_new_training makes holds them: the sanitizers would say so. */
Test(translate_batches, a_pair_larger_than_a_batch_is_one_by_itself) {
  static const int64_t sizes[] = {1, 20, 90};
  for (int i = 0; i < 3; i++) {
    int64_t all = 0, batches = 0;
    batch b;
    open_pairs(&d, sizes[i], 1);
    int64_t next = take_epoch(1, sizes[i], &all, &batches);
    if (i == 0) cr_expect_eq(batches, d.train_count);
    assert_ok(batch_new_training(&b, &d, &error));
    for (int64_t number = 1; number < next; number++) {
      assert_ok(data_train_batch(&d, number, &b, &error));
      int64_t count = b.source.shape[0];
      cr_assert(count == 1 || count * (b.source.shape[1] + b.input.shape[1]) <= sizes[i]);
      for (int64_t k = 0; k < count; k++) cr_assert_eq(b.source_length[k], d.picked[k].source_length + 1);
    }
    batch_free(&b);
  }
}

/* ---- parts of a batch ------------------------------------------------------------------------------------ */

Test(translate_batches, parts_are_its_sequences_in_order_and_padded_as_it_is) {
  batch b;
  open_pairs(&d, 0, 1);
  s.batch = 13;
  data_free(&d);
  assert_ok(data_pairs(&d, &s, "pairs.tsv", NULL, NULL, NULL, &error));
  assert_ok(batch_new_training(&b, &d, &error));
  assert_ok(data_train_batch(&d, 3, &b, &error));
  for (int64_t parts = 1; parts <= 32; parts *= 2) {
    int64_t tokens = 0, next = 0;
    for (int64_t p = 0; p < parts; p++) {
      batch part = batch_part(&b, p, parts);
      int64_t count = part.source.shape[0];
      cr_assert(part.first == next && part.input.shape[0] == count && part.output.shape[0] == count);
      cr_assert(part.source.shape[1] == b.source.shape[1] && part.output.shape[1] == b.output.shape[1]);
      if (count) {
        cr_assert_eq(part.source.data, (int32_t *)b.source.data + next * b.source.shape[1]);
        cr_assert_eq(part.output.data, (int32_t *)b.output.data + next * b.output.shape[1]);
        cr_assert_eq(part.source_length, b.source_length + next);
      }
      next += count, tokens += part.tokens;
    }
    cr_assert(next == 13 && tokens == b.tokens, "%d parts", (int)parts);
  }
  batch_free(&b);
}
