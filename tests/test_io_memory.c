/* Every function of this room, and of measure, with each of its allocations failing in turn. */
#include "test_io_directory.h"

#include "tapehead/measure.h"

#include <errno.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#ifndef SANITIZED /* the sanitizer brings its own malloc */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *old);

static _Thread_local long until_failure = -1; /* how many allocations still succeed; -1: all of them */
static _Thread_local long blocks;             /* allocated, less freed */

static bool granted(void) {
  if (until_failure == 0) {
    errno = ENOMEM;
    return false;
  }
  if (until_failure > 0) until_failure--;
  return true;
}

static void *counted(void *block) {
  blocks += block != NULL;
  return block;
}

void *malloc(size_t size) { return granted() ? counted(__libc_malloc(size)) : NULL; }
void *calloc(size_t count, size_t size) { return granted() ? counted(__libc_calloc(count, size)) : NULL; }

void *realloc(void *old, size_t size) {
  if (!granted()) return NULL;
  void *block = __libc_realloc(old, size);
  return old ? block : counted(block);
}

void free(void *old) {
  blocks -= old != NULL;
  __libc_free(old);
}

/* Runs `work` with its first allocation failing, then its second, until it needs no more: each time
 * it must say TH_ENOMEM, leak nothing, and leave no temporary file. */
static void exhaust(const char *name, th_status (*work)(th_error *error)) {
  for (long n = 0; n < 10000; n++) {
    th_error error = {0};
    long before = blocks;
    int files = files_here();
    until_failure = n;
    th_status status = work(&error);
    bool reached = until_failure == 0;
    until_failure = -1;
    cr_assert_eq(blocks, before, "%s leaks when allocation %ld fails: %ld", name, n, blocks - before);
    cr_assert_leq(files_here(), files + 1);
    if (status == TH_OK && !reached) return;
    if (status != TH_OK)
      cr_assert_eq(status, TH_ENOMEM, "%s, when allocation %ld fails: %s", name, n, error.text);
  }
  cr_assert_fail("%s never succeeds", name);
}

static th_status read_file(th_error *error) {
  char *bytes;
  size_t size;
  th_status status = th_file_read("m.jsonl", &bytes, &size, error);
  free(bytes);
  return status;
}

static th_status write_file(th_error *error) { return th_file_write("a", "x", 1, error); }
static th_status make_directory(th_error *error) { return th_directory_make("d/e", error); }

static float numbers[] = {1, 2, 3, 4, 5};

static th_status save_tensors(th_error *error) {
  th_tensor odd = th_tensor_of(numbers, TH_U8, 1, (int64_t[]){3}),
            t = th_tensor_of(numbers, TH_F32, 1, (int64_t[]){5});
  return th_safetensors_save("m.safetensors", (th_named_tensor[]){{"odd", &odd}, {"t", &t}}, 2,
                             (th_text_pair[]){{"k", "v"}}, 1, error);
}

static th_status load_tensors(th_error *error) {
  th_safetensors *archive;
  th_status status = th_safetensors_load(&archive, "m.safetensors", error);
  th_safetensors_free(archive);
  return status;
}

static th_status save_array(th_error *error) {
  th_tensor t = th_tensor_of(numbers, TH_F32, 1, (int64_t[]){5});
  return th_npy_save("a.npy", &t, error);
}

static th_status load_array(th_error *error) {
  th_tensor tensor;
  th_status status = th_npy_load(&tensor, "a.npy", error);
  if (status == TH_OK) th_tensor_free(&tensor);
  return status;
}

static th_status use_vocabulary_of(th_unit unit, int64_t merges, th_error *error) {
  static const char text[] = "the quick br\u00F6wn fox jumps over the lazy dog, the dog over the fox";
  int32_t *ids = NULL;
  char *decoded = NULL;
  size_t count = 0;
  th_vocabulary *vocabulary;
  th_status status = th_vocabulary_new(&vocabulary, unit, error);
  if (status == TH_OK && merges) status = th_vocabulary_set_merges(vocabulary, merges, error);
  if (status == TH_OK) status = th_vocabulary_add(vocabulary, text, sizeof text - 1, error);
  if (status == TH_OK) status = th_vocabulary_finish(vocabulary, 1, error);
  if (status == TH_OK) status = th_vocabulary_encode(vocabulary, text, sizeof text - 1, &ids, &count, error);
  if (status == TH_OK) status = th_vocabulary_decode(vocabulary, ids, count, &decoded, error);
  if (status == TH_OK) status = th_vocabulary_save(vocabulary, "vocab.json", error);
  th_vocabulary_free(vocabulary);
  free(ids);
  free(decoded);
  return status;
}

static th_status use_words(th_error *error) { return use_vocabulary_of(TH_UNIT_WORD, 0, error); }
static th_status use_pieces(th_error *error) { return use_vocabulary_of(TH_UNIT_BPE, 20, error); }

static th_status load_vocabulary(th_error *error) {
  th_vocabulary *vocabulary;
  th_status status = th_vocabulary_load(&vocabulary, "vocab.json", error);
  th_vocabulary_free(vocabulary);
  return status;
}

static th_status resume_metrics(th_error *error) {
  th_metrics *metrics;
  th_status status = th_metrics_open(&metrics, "m.jsonl", 1, error);
  if (status == TH_OK) status = th_metrics_append(metrics, 2, (th_metric[]){{"loss", 0.5}}, 1, error);
  th_metrics_close(metrics);
  return status;
}

static th_status read_metrics(th_error *error) {
  int64_t *steps;
  double *values;
  size_t count;
  th_status status = th_metrics_read("m.jsonl", "loss", &steps, &values, &count, error);
  free(steps);
  free(values);
  return status;
}

static th_status measure_texts(th_error *error) {
  double counts[TH_COUNTS_MAX];
  th_status status = TH_OK;
  for (th_measure_kind kind = TH_EXACT_MATCH; kind <= TH_CHRF && status == TH_OK; kind++)
    status = th_measure_count(&(th_measure){.kind = kind, .word_order = 2}, "a, b c",
                              (const char *[]){"a b, c d", "a"}, 2, counts, error);
  return status;
}

static th_status compare_systems(th_error *error) {
  th_counts c;
  th_comparison comparison;
  th_status status = th_counts_new(&c, &(th_measure){.kind = TH_RATIO}, 3, error);
  if (status != TH_OK) return status;
  status = th_bootstrap_compare(NULL, &c, &c, 1, &comparison, error);
  th_counts_free(&c);
  return status;
}

Test(io, says_so_and_leaks_nothing_when_memory_runs_out, .init = enter_directory, .fini = leave_directory) {
  static const struct {
    const char *name;
    th_status (*work)(th_error *error);
  } works[] = {
      {"reading a file", read_file},
      {"writing a file", write_file},
      {"making a directory", make_directory},
      {"saving tensors", save_tensors},
      {"loading tensors", load_tensors},
      {"saving an array", save_array},
      {"loading an array", load_array},
      {"using a vocabulary", use_words},
      {"loading a vocabulary", load_vocabulary},
      {"using a vocabulary of pieces", use_pieces},
      {"loading a vocabulary of pieces", load_vocabulary},
      {"reading metrics", read_metrics},
      {"resuming metrics", resume_metrics},
      {"measuring texts", measure_texts},
      {"comparing systems", compare_systems},
  };
  put_text("m.jsonl", "{\"step\":1,\"loss\":1}\n{\"step\":2,\"loss\":2}\n");
  for (size_t i = 0; i < sizeof works / sizeof *works; i++) exhaust(works[i].name, works[i].work);
}

#else

Test(io, says_so_and_leaks_nothing_when_memory_runs_out) {
  cr_skip_test("the sanitizer's malloc cannot be made to fail from here");
}

#endif
