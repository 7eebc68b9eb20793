/* What is trained on and what is held out: never the same thing, and the same split every time. */
#include "../../examples/translate/data.h"
#include "../translate_run.h"

static settings s;
static data d;
static th_error error;

static void begin(void) {
  enter_directory();
  error = (th_error){0};
  d = (data){0};
}

static void end(void) {
  data_free(&d);
  leave_directory();
}

TestSuite(translate_data, .init = begin, .fini = end);

#define assert_ok(call) cr_assert_eq(call, TH_OK, "%s", error.text)

/* ---- toy tasks ----------------------------------------------------------------------------------------- */

static void use_task(const char *task, int64_t symbols, int64_t min_length, int64_t max_length,
                     int64_t seed) {
  given none = {0};
  s = (settings){0};
  settings_defaults(&s, &none);
  strcpy(s.task, task);
  s.symbols = symbols, s.min_length = min_length, s.max_length = max_length, s.seed = seed;
  data_free(&d);
  assert_ok(data_toy(&d, &s, &error));
}

static void use_toy(int64_t symbols, int64_t min_length, int64_t max_length, int64_t seed) {
  use_task("reverse", symbols, min_length, max_length, seed);
}

static int by_source(const void *a, const void *b) {
  const example *x = a, *y = b;
  if (x->source_length != y->source_length) return x->source_length < y->source_length ? -1 : 1;
  return memcmp(x->source, y->source, (size_t)x->source_length * sizeof *x->source);
}

static example *sorted(const example *examples, int64_t count) {
  example *copy = malloc((size_t)count * sizeof *copy);
  memcpy(copy, examples, (size_t)count * sizeof *copy);
  qsort(copy, (size_t)count, sizeof *copy, by_source);
  return copy;
}

static bool stands_in(const example *wanted, const example *among, int64_t count) {
  return bsearch(wanted, among, (size_t)count, sizeof *among, by_source) != NULL;
}

/* Of the `count` first sequences of training, as many as step by step batches take. */
static void assert_none_trained_on(const data *training, const example *held_out, int64_t held_out_count,
                                   int64_t count) {
  int64_t batch_size = training->settings->batch;
  for (int64_t step = 1; (step - 1) * batch_size < count; step++) {
    assert_ok(toy_pick((data *)(uintptr_t)training, step, &error));
    for (int64_t i = 0; i < batch_size; i++)
      cr_assert_not(stands_in(&training->picked[i], held_out, held_out_count), "step %d, sequence %d",
                    (int)step, (int)i);
  }
}

Test(translate_data, no_held_out_sequence_is_trained_on) {
  use_toy(32, 4, 16, 1);
  cr_assert_eq(d.held_out_count, 1000);
  example *held_out = sorted(d.held_out, d.held_out_count);
  assert_none_trained_on(&d, held_out, d.held_out_count, 20000);
  free(held_out);
}

/* 1364 sequences in all: 20000 draws for training meet every one that they may. */
Test(translate_data, nor_where_training_takes_all_there_is) {
  use_toy(4, 1, 5, 1);
  example *held_out = sorted(d.held_out, d.held_out_count);
  assert_none_trained_on(&d, held_out, d.held_out_count, 20000);
  free(held_out);
}

Test(translate_data, what_one_seed_holds_out_no_other_trains_on) {
  data first = {0};
  settings first_settings;
  use_toy(4, 1, 5, 1);
  first_settings = s;
  assert_ok(data_toy(&first, &first_settings, &error));
  example *held_out = sorted(first.held_out, first.held_out_count);
  use_toy(4, 1, 5, 2);
  assert_none_trained_on(&d, held_out, first.held_out_count, 20000);
  free(held_out);
  data_free(&first);
}

Test(translate_data, a_batch_depends_on_seed_and_step_alone) {
  int32_t before[3];
  use_toy(8, 4, 6, 1);
  assert_ok(toy_pick(&d, 7, &error));
  memcpy(before, d.picked[5].source, sizeof before);
  assert_ok(toy_pick(&d, 8, &error));
  cr_assert(memcmp(before, d.picked[5].source, sizeof before) != 0);
  use_toy(8, 4, 6, 1);
  assert_ok(toy_pick(&d, 7, &error));
  cr_assert(!memcmp(before, d.picked[5].source, sizeof before));
}

Test(translate_data, targets_are_the_sources_copied_reversed_or_sorted) {
  static const char *const tasks[] = {"copy", "reverse", "sort"};
  for (int t = 0; t < 3; t++) {
    use_toy(8, 1, 6, 1);
    strcpy(s.task, tasks[t]);
    assert_ok(toy_pick(&d, 1, &error));
    for (int64_t i = 0; i < s.batch; i++) {
      const example *e = &d.picked[i];
      cr_assert(e->source_length >= 1 && e->source_length <= 6 && e->target_length == e->source_length);
      for (int64_t k = 0; k < e->source_length; k++) {
        if (t == 0) cr_assert_eq(e->target[k], e->source[k]);
        if (t == 1) cr_assert_eq(e->target[k], e->source[e->source_length - 1 - k]);
        if (t == 2) cr_assert(!k || e->target[k - 1] <= e->target[k]);
      }
    }
  }
}

Test(translate_data, targets_are_the_sources_twice) {
  use_task("duplicate", 8, 1, 6, 1);
  assert_ok(toy_pick(&d, 1, &error));
  cr_assert_eq(d.longest, 12);
  for (int64_t i = 0; i < s.batch; i++) {
    const example *e = &d.picked[i];
    cr_assert_eq(e->target_length, 2 * e->source_length);
    for (int64_t k = 0; k < e->target_length; k++)
      cr_assert_eq(e->target[k], e->source[k % e->source_length]);
  }
}

static char *text_of(const th_vocabulary *v, const int32_t *ids, int64_t count) {
  char *text;
  assert_ok(th_vocabulary_decode(v, ids, (size_t)count, &text, &error));
  return text;
}

/* Read as text and added by the processor; `digits` receives how many the two numbers have. */
static void assert_adds(const example *e, int digits[2]) {
  char *source = text_of(d.source, e->source, e->source_length), *plus, *end;
  char *target = text_of(d.target, e->target, e->target_length), sum[24];
  uint64_t a = strtoull(source, &plus, 10);
  cr_assert_eq(*plus, '+', "%s", source);
  uint64_t b = strtoull(plus + 1, &end, 10);
  cr_assert_eq(*end, 0, "%s", source);
  snprintf(sum, sizeof sum, "%llu", (unsigned long long)(a + b));
  cr_assert_str_eq(target, sum, "%s", source);
  digits[0] = (int)(plus - source), digits[1] = (int)(end - plus) - 1;
  cr_assert(source[0] != '0' || digits[0] == 1);
  cr_assert(plus[1] != '0' || digits[1] == 1);
  free(source);
  free(target);
}

Test(translate_data, targets_are_the_sums_of_the_two_numbers) {
  int digits[2], unequal = 0, ends = 0;
  use_task("addition", 99, 1, 15, 1);
  cr_assert_eq(d.longest, 31);
  cr_assert_eq(th_vocabulary_count(d.source), TH_SPECIALS + 11);
  for (int64_t step = 1; step <= 20; step++) {
    assert_ok(toy_pick(&d, step, &error));
    for (int64_t i = 0; i < s.batch; i++) {
      assert_adds(&d.picked[i], digits);
      for (int k = 0; k < 2; k++) cr_assert(digits[k] >= 1 && digits[k] <= 15);
      unequal += digits[0] != digits[1];
      ends |= digits[0] == 1 ? 1 : digits[0] == 15 ? 2 : 0;
    }
  }
  for (int64_t i = 0; i < d.held_out_count; i++) assert_adds(&d.held_out[i], digits);
  cr_assert_gt(unequal, 0);
  cr_assert_eq(ends, 3);
}

Test(translate_data, no_held_out_sum_is_trained_on) {
  use_task("addition", 2, 1, 2, 1);
  example *held_out = sorted(d.held_out, d.held_out_count);
  assert_none_trained_on(&d, held_out, d.held_out_count, 20000);
  free(held_out);
}

Test(translate_data, other_lengths_are_held_out_by_the_same_rule) {
  data training = {0};
  settings training_settings;
  use_toy(4, 1, 5, 1);
  training_settings = s;
  assert_ok(data_toy(&training, &training_settings, &error));
  use_toy(4, 1, 3, 1);
  assert_ok(toy_replace(&d, 4, 5, 5, &error));
  cr_assert_eq(d.held_out_count, 1000);
  for (int64_t i = 0; i < d.held_out_count; i++)
    cr_assert(d.held_out[i].source_length == 4 || d.held_out[i].source_length == 5);
  example *held_out = sorted(d.held_out, d.held_out_count);
  assert_none_trained_on(&training, held_out, d.held_out_count, 20000);
  free(held_out);
  data_free(&training);
}

Test(translate_data, longer_sequences_than_the_model_takes_leave_the_old_ones) {
  use_task("duplicate", 8, 2, 4, 1);
  const example *before = d.held_out;
  cr_assert_eq(toy_replace(&d, 2, 5, 9, &error), TH_EINVAL);
  cr_assert(strstr(error.text, "up to 10 tokens") && strstr(error.text, "--room 10"), "%s", error.text);
  cr_assert_eq(toy_replace(&d, 5, 4, 9, &error), TH_EINVAL);
  cr_assert_eq(d.held_out, before);
  assert_ok(toy_replace(&d, 2, 5, 10, &error));
  cr_assert_eq(d.longest, 10);
}

static int64_t model_length(const char *task, int64_t max_length, int64_t room) {
  th_transformer_config config;
  given none = {0};
  if (!d.source) use_task("copy", 8, 1, 4, 1); /* any vocabularies */
  settings_defaults(&s, &none);
  strcpy(s.task, task);
  s.max_length = max_length, s.room = room;
  assert_ok(settings_model(&s, d.source, d.target, &config, &error));
  return config.max_length;
}

Test(translate_data, a_model_has_room_for_its_task_and_a_mark_or_for_what_it_is_told) {
  cr_assert_eq(model_length("copy", 12, 0), 13);
  cr_assert_eq(model_length("duplicate", 12, 0), 25);
  cr_assert_eq(model_length("addition", 12, 0), 26);
  cr_assert_eq(model_length("pairs", 12, 0), 13);
  cr_assert_eq(model_length("addition", 12, 25), 26);
  cr_assert_eq(model_length("copy", 12, 40), 41);
}

/* ---- pairs ------------------------------------------------------------------------------------------------ */

enum { LINES = 600, COPIES = 3 }; /* each source with so many targets */

/* Line i: a source with a letter that no other source has, and a target with one that no other target has;
 * targets of four lengths. */
static void put_line(FILE *file, int i) {
  char source_letter[4], target_letter[4];
  int source = 0x4E00 + i / COPIES, target = 0x5E00 + i; /* three bytes of UTF-8 each */
  snprintf(source_letter, 4, "%c%c%c", 0xE0 | source >> 12, 0x80 | (source >> 6 & 63), 0x80 | (source & 63));
  snprintf(target_letter, 4, "%c%c%c", 0xE0 | target >> 12, 0x80 | (target >> 6 & 63), 0x80 | (target & 63));
  fprintf(file, "source %s\ttarget %s%.*s\n", source_letter, target_letter, i % 4, "rat");
}

/* The lines in an order that `factor`, prime to their number, makes. */
static void use_pairs(int factor) {
  given flags = {0};
  FILE *file = fopen("pairs.tsv", "w");
  for (int i = 0; i < LINES; i++) put_line(file, (int)((long)i * factor % LINES));
  cr_assert_eq(fclose(file), 0);
  s = (settings){.pairs = "pairs.tsv"};
  settings_defaults(&s, &flags);
  data_free(&d);
  assert_ok(data_pairs(&d, &s, "pairs.tsv", NULL, NULL, NULL, &error));
  cr_assert_eq(d.train_count + d.held_out_count, LINES);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* The sources of the training part, sorted. */
static char **sources(void) {
  char **texts = calloc((size_t)d.train_count, sizeof *texts);
  for (int64_t i = 0; i < d.train_count; i++)
    texts[i] = text_of(d.source, d.train[i].source, d.train[i].source_length);
  qsort(texts, (size_t)d.train_count, sizeof *texts, by_text);
  return texts;
}

static void free_texts(char **texts, int64_t count) {
  for (int64_t i = 0; i < count; i++) free(texts[i]);
  free(texts);
}

static int64_t unknown_in(const int32_t *ids, int64_t count) {
  int64_t found = 0;
  for (int64_t i = 0; i < count; i++) found += ids[i] == TH_UNK;
  return found;
}

/* Every source has a letter of its own, so one that were in both parts would have it in the vocabulary. */
Test(translate_data, no_source_of_pairs_is_in_both_parts) {
  use_pairs(1);
  cr_assert(d.held_out_count >= LINES / 50 && d.held_out_count <= LINES / 4);
  cr_assert_eq(d.train_count % COPIES, 0);
  for (int64_t i = 0; i < d.held_out_count; i++)
    cr_assert_eq(unknown_in(d.held_out[i].source, d.held_out[i].source_length), 1, "pair %d", (int)i);
}

Test(translate_data, the_vocabulary_is_that_of_the_training_part) {
  use_pairs(1);
  for (int64_t i = 0; i < d.train_count; i++) {
    cr_assert_eq(unknown_in(d.train[i].source, d.train[i].source_length), 0);
    cr_assert_eq(unknown_in(d.train[i].target, d.train[i].target_length), 0);
  }
  for (int64_t i = 0; i < d.held_out_count; i++)
    cr_assert_eq(unknown_in(d.held_out[i].target, d.held_out[i].target_length), 1);
  cr_assert_eq(th_vocabulary_count(d.source), TH_SPECIALS + 7 + d.train_count / COPIES); /* " ceorsu" */
  cr_assert_eq(th_vocabulary_count(d.target), TH_SPECIALS + 6 + d.train_count);          /* " aegrt" */
}

Test(translate_data, the_split_does_not_depend_on_the_order_of_lines) {
  use_pairs(1);
  int64_t count = d.train_count;
  char **before = sources();
  use_pairs(7);
  cr_assert_eq(d.train_count, count);
  char **after = sources();
  for (int64_t i = 0; i < count; i++) cr_assert_str_eq(after[i], before[i]);
  free_texts(before, count);
  free_texts(after, count);
}

Test(translate_data, the_split_does_not_depend_on_the_seed) {
  use_pairs(1);
  int64_t count = d.train_count;
  const int32_t first = d.train[0].source[7], last_one = d.train[count - 1].source[7];
  data_free(&d);
  s.seed = 99, s.max_length = 0;
  assert_ok(data_pairs(&d, &s, "pairs.tsv", NULL, NULL, NULL, &error));
  cr_assert_eq(d.train_count, count);
  cr_assert(d.train[0].source[7] == first && d.train[count - 1].source[7] == last_one);
}

/* How often the updates of an epoch take each pair, added to `taken` [d.train_count]. */
static void take_epoch(int64_t epoch, int *taken) {
  int64_t batches = d.train_count / s.batch;
  for (int64_t step = epoch * batches + 1; step <= (epoch + 1) * batches; step++) {
    cr_assert_eq(pairs_pick(&d, step), s.batch);
    for (int64_t k = 0; k < s.batch; k++)
      for (int64_t i = 0; i < d.train_count; i++) taken[i] += d.picked[k].target == d.train[i].target;
  }
}

Test(translate_data, an_epoch_takes_no_pair_twice_and_no_pair_is_never_taken) {
  use_pairs(1);
  int *taken = calloc((size_t)d.train_count, sizeof *taken);
  cr_assert_neq(d.train_count % s.batch, 0);
  for (int64_t epoch = 0; epoch < 10; epoch++) {
    take_epoch(epoch, taken);
    for (int64_t i = 0; i < d.train_count; i++) cr_assert_leq(taken[i], epoch + 1);
  }
  for (int64_t i = 0; i < d.train_count; i++)
    cr_assert_geq(taken[i], 5, "pair %d is taken %d times in 10 epochs", (int)i, taken[i]);
  free(taken);
}

Test(translate_data, batches_are_made_anew_in_each_epoch) {
  use_pairs(1);
  int64_t batches = d.train_count / s.batch;
  int most = 0; /* pairs of the first batch that are together again */
  pairs_pick(&d, 1);
  example *first = calloc((size_t)s.batch, sizeof *first);
  memcpy(first, d.picked, (size_t)s.batch * sizeof *first);
  for (int64_t step = batches + 1; step <= 2 * batches; step++) {
    int shared = 0;
    pairs_pick(&d, step);
    for (int64_t i = 0; i < s.batch; i++)
      for (int64_t k = 0; k < s.batch; k++) shared += first[k].target == d.picked[i].target;
    if (shared > most) most = shared;
  }
  cr_assert_lt(most, s.batch, "a batch came back");
  free(first);
}

Test(translate_data, fewer_pairs_than_a_batch_are_a_smaller_batch) {
  use_pairs(1);
  data_free(&d);
  s.batch = LINES, s.max_length = 0;
  assert_ok(data_pairs(&d, &s, "pairs.tsv", NULL, NULL, NULL, &error));
  cr_assert_lt(d.train_count, s.batch);
  cr_assert_eq(pairs_pick(&d, 1), d.train_count);
  cr_assert_eq(pairs_pick(&d, 2), d.train_count);
}

/* ---- batches ------------------------------------------------------------------------------------------------ */

Test(translate_data, a_batch_has_its_marks_and_its_padding) {
  const int32_t long_one[] = {10, 11, 12}, short_one[] = {20};
  const example examples[] = {{long_one, short_one, 3, 1}, {short_one, long_one, 1, 3}};
  const int32_t source[] = {10, 11, 12, TH_EOS, 20, TH_EOS, TH_PAD, TH_PAD};
  const int32_t input[] = {TH_BOS, 20, TH_PAD, TH_PAD, TH_BOS, 10, 11, 12};
  const int32_t output[] = {20, TH_EOS, -1, -1, 10, 11, 12, TH_EOS};
  batch b;
  assert_ok(batch_new(&b, 2, 3, &error));
  batch_fill(&b, examples, 2);
  cr_assert(!memcmp(b.source.data, source, sizeof source));
  cr_assert(!memcmp(b.input.data, input, sizeof input));
  cr_assert(!memcmp(b.output.data, output, sizeof output));
  cr_assert(b.source_length[0] == 4 && b.source_length[1] == 2);
  cr_assert_eq(b.tokens, 2 + 4);
  batch_free(&b);
}
