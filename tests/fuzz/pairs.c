/* A file of pairs, source<TAB>target: two bytes for the units and what is held out, then the lines. */
#include "fuzz.h"

#include "../../examples/translate/data.h"

static void claim_ids(const example *e, const data *d) {
  for (int64_t i = 0; i < e->source_length; i++)
    CLAIM(e->source[i] >= TH_UNK && e->source[i] < th_vocabulary_count(d->source));
  for (int64_t i = 0; i < e->target_length; i++)
    CLAIM(e->target[i] >= TH_UNK && e->target[i] < th_vocabulary_count(d->target));
  CLAIM(e->source_length <= d->longest && e->target_length <= d->longest);
}

static void make_batches(data *d) {
  batch b;
  th_error error = {0};
  CLAIM(batch_new_training(&b, d, &error) == TH_OK);
  for (int64_t number = 1; number <= 3; number++) {
    CLAIM(data_train_batch(d, number, &b, &error) == TH_OK);
    CLAIM(b.tokens > 0 && b.source.shape[1] <= d->longest + 1);
  }
  batch_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static const char *const units[] = {"character", "word", "bpe"};
  feed f = {bytes, size};
  settings s = {.min_count = 1, .merges = 20, .held_out = 1 + feed_below(&f, 8), .batch = 4, .accumulate = 1};
  int choice = feed_below(&f, 36);
  strcpy(s.task, "pairs");
  strcpy(s.source_unit, units[choice % 3]);
  strcpy(s.target_unit, units[choice / 3 % 3]);
  strcpy(s.vocabulary, choice / 9 % 2 ? "joint" : "separate");
  s.max_length = choice / 18 ? 6 : 0;
  s.held_out_part = 0.3;
  fuzz_file file = fuzz_file_open(f.at, f.left);
  data d;
  th_error error = {0};
  if (data_pairs(&d, &s, file.path, NULL, NULL, NULL, &error)) CLAIM_SAID(error);
  else {
    for (int64_t i = 0; i < d.train_count; i++) claim_ids(&d.train[i], &d);
    for (int64_t i = 0; i < d.held_out_count; i++) claim_ids(&d.held_out[i], &d);
    make_batches(&d);
    if (data_replace(&d, file.path, 4, &error)) CLAIM_SAID(error);
    data_free(&d);
  }
  fuzz_file_close(&file);
  return 0;
}
