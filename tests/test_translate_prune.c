/* translate prune: a smaller run that says what the whole one says without those heads, and can be trained on. */
#include "translate_run.h"

#include <math.h>

TestSuite(translate_prune, .init = enter_directory, .fini = leave_directory);

/* Two heads of width 8 each in three attentions; what is trained on does not depend on how many steps are to come. */
#define TRAIN "train " SMALL_PAIRS " --schedule constant --warmup 1 --rate 0.01 --report-every 5"

static void make_run(void) {
  put_pairs("pairs.tsv", 100);
  works(TRAIN " --ema 0.9 --steps 20 --out run");
}

static th_safetensors *weights(const char *path) {
  th_safetensors *archive;
  th_error error;
  cr_assert_eq(th_safetensors_load(&archive, path, &error), TH_OK, "%s", error.text);
  return archive;
}

static bool config_has(const char *run, const char *text) {
  char path[64];
  size_t size;
  snprintf(path, sizeof path, "%s/config.json", run);
  char *config = get(path, &size);
  bool has = strstr(config, text);
  free(config);
  return has;
}

/* ---- what it makes -------------------------------------------------------------------------------------- */

Test(translate_prune, makes_a_whole_run_and_leaves_the_old_one_as_it_was) {
  make_run();
  uint64_t before = everything_here();
  works("prune run --heads enc0.1,cross0.0 --out small");
  /* of each head: 3 * 8 rows of 16 and their biases, 16 rows of 8 */
  assert_says("small: without enc0.1,cross0.0, 4 heads of 6\n");
  long long now = 0, was = 0, bytes = 0, bytes_before = 0;
  cr_assert_eq(sscanf(strchr(last.out, '\n'), " %lld parameters of %lld, %lld bytes of %lld in", &now, &was,
                      &bytes, &bytes_before),
               4);
  cr_assert_eq(was - now, 2 * (24 * 17 + 16 * 8));
  struct stat whole, small;
  cr_assert(!stat("run/model.safetensors", &whole) && !stat("small/model.safetensors", &small));
  cr_assert_eq(bytes, small.st_size);
  cr_assert_eq(bytes_before, whole.st_size);
  cr_assert_leq(small.st_size, whole.st_size - 4 * (was - now));
  cr_assert(config_has("small", "\"pruned\": \"enc0.1,cross0.0\""));
  works("eval small");
  works("gradcheck small");
  cr_assert_eq(decode("small", "abc\ncba\n"), 0);
  remove_tree("small");
  cr_assert_eq(everything_here(), before);
}

/* The whole run with the columns of a head's output at 0, in place of the head. */
static void silence(const char *path, const char *name, int64_t head) {
  th_safetensors *archive = weights(path);
  size_t count = th_safetensors_count(archive);
  th_named_tensor *list = calloc(count, sizeof *list);
  th_error error;
  for (size_t i = 0; i < count; i++)
    list[i] = (th_named_tensor){th_safetensors_name(archive, i), th_safetensors_tensor(archive, i)};
  const th_tensor *out = th_safetensors_find(archive, name);
  cr_assert(out && out->shape[1] == 16, "%s", name);
  for (int64_t i = 0; i < 16 * 8; i++) th_tensor_set(out, i / 8 * 16 + head * 8 + i % 8, 0);
  cr_assert_eq(th_safetensors_save(path, list, count, NULL, 0, &error), TH_OK, "%s", error.text);
  free(list);
  th_safetensors_free(archive);
}

static th_tensor logits_of(const char *run) {
  th_tensor logits;
  th_error error;
  works("logits %s --pairs pairs.tsv --double --out logits.npy", run);
  cr_assert_eq(th_npy_load(&logits, "logits.npy", &error), TH_OK, "%s", error.text);
  return logits;
}

Test(translate_prune, says_what_the_whole_run_says_with_those_heads_silent) {
  static const char *const kinds[] = {"sinusoidal", "learned", "rotary", "alibi", "relative", "none"};
  put_pairs("pairs.tsv", 40);
  for (int i = 0; i < 6; i++) {
    works("train " SHAPE " --pairs pairs.tsv --held-out 5 --steps 3 --positions %s --out run", kinds[i]);
    works("prune run --heads enc0.0,dec0.0-1,cross0.1 --out small");
    silence("run/model.safetensors", "encoder.layers.0.self_attn.out_proj.weight", 0);
    silence("run/model.safetensors", "decoder.layers.0.self_attn.out_proj.weight", 0);
    silence("run/model.safetensors", "decoder.layers.0.self_attn.out_proj.weight", 1);
    silence("run/model.safetensors", "decoder.layers.0.multihead_attn.out_proj.weight", 1);
    th_tensor wanted = logits_of("run"), got = logits_of("small");
    cr_assert(th_tensor_same_shape(&wanted, &got));
    for (int64_t k = 0; k < th_tensor_count(&wanted); k++) {
      double w = th_tensor_get(&wanted, k), g = th_tensor_get(&got, k);
      cr_assert((isnan(w) && isnan(g)) || fabs(w - g) < 1e-12, "%s: %.17g, wanted %.17g", kinds[i], g, w);
    }
    th_tensor_free(&wanted);
    th_tensor_free(&got);
    remove_tree("run");
    remove_tree("small");
  }
}

Test(translate_prune, takes_the_weights_that_are_asked_for) {
  make_run();
  works("prune run --heads dec0.1 --use ema --out small");
  th_safetensors *ema = weights("run/ema.safetensors"), *made = weights("small/model.safetensors");
  const th_tensor *wanted = th_safetensors_find(ema, "output.weight"),
                  *got = th_safetensors_find(made, "output.weight");
  for (int64_t i = 0; i < th_tensor_count(wanted); i++)
    cr_assert_eq(th_tensor_get(got, i), th_tensor_get(wanted, i));
  th_safetensors_free(ema);
  th_safetensors_free(made);
  refuses(1, "run/best.safetensors: there is none: the run was trained without --validate-every",
          "prune run --heads dec0.1 --use best --out other");
}

Test(translate_prune, twice_is_once_with_the_heads_of_both) {
  make_run();
  works("prune run --heads cross0.0 --out once");
  works("prune once --heads enc0.1,cross0.1 --out twice");
  works("prune run --heads cross0.0-1,enc0.1 --out both");
  cr_assert(same_bytes("twice/model.safetensors", "both/model.safetensors"));
  cr_assert(same_bytes("twice/config.json", "both/config.json"));
  cr_assert(config_has("twice", "\"pruned\": \"enc0.1,cross0.0-1\""));
  refuses(2, "--heads: cross0.0 is gone already", "prune twice --heads enc0.0,cross0.0 --out more");
}

Test(translate_prune, keeps_the_numbers_of_heads_in_pictures_and_arrays) {
  make_run();
  works("prune run --heads enc0.0,cross0.0 --out small");
  works("train --out small --steps 1");
  cr_assert(exists("small/heatmaps/cross_0_head_1.png") && !exists("small/heatmaps/cross_0_head_0.png"));
  cr_assert_eq(filter("abc\n", "decode small --attention heads.npy"), 0, "%s", last.err);
  th_tensor heads;
  cr_assert_eq(th_npy_load(&heads, "heads.npy", NULL), TH_OK);
  cr_assert_eq(heads.shape[1], 2);
  int64_t half = th_tensor_count(&heads) / 2;
  for (int64_t i = 0; i < half; i++)
    cr_assert(isnan(th_tensor_get(&heads, i)) && !isnan(th_tensor_get(&heads, half + i)));
  th_tensor_free(&heads);
  cr_assert_eq(filter("abc\n", "decode small --attention heads.png"), 0, "%s", last.err);
}

/* ---- trained on ------------------------------------------------------------------------------------------ */

Test(translate_prune, trains_on_from_step_0_and_is_resumed_to_the_same_bits) {
  make_run();
  works("prune run --heads enc0.1,dec0.0-1 --out a");
  works("prune run --heads enc0.1,dec0.0-1 --out b");
  works("train --out a --steps 30");
  assert_says("going on in a from step 0 of 30");
  works("train --out b --steps 11");
  works("train --out b --steps 30");
  cr_assert(same_bytes("a/model.safetensors", "b/model.safetensors"));
  cr_assert(same_bytes("a/optimizer.safetensors", "b/optimizer.safetensors"));
  int64_t *steps;
  double *losses;
  size_t count;
  cr_assert_eq(th_metrics_read("a/metrics.jsonl", "loss", &steps, &losses, &count, NULL), TH_OK);
  cr_assert(count == 6 && losses[5] < losses[0], "from %g to %g", losses[0], losses[count - 1]);
  free(steps);
  free(losses);
}

Test(translate_prune, a_run_without_any_head_is_still_a_run) {
  make_run();
  works("prune run --heads enc0.0-1,dec0.0-1,cross0.0-1 --out none");
  assert_says("0 heads of 6");
  works("eval none");
  works("train --out none --steps 2");
  cr_assert_eq(filter("abc\n", "decode none --beam 3"), 0, "%s", last.err);
  cr_assert_eq(filter("abc\n", "decode none --attention heads.png"), 2);
}

Test(translate_prune, a_model_may_be_trained_without_heads_from_the_start) {
  works("train " SMALL " --steps 4 --pruned enc0.1,dec0.0-1 --out run");
  works("prune run --heads enc0.0 --out small");
  cr_assert(config_has("small", "\"pruned\": \"enc0.0-1,dec0.0-1\""));
  refuses(2, "--pruned differs from the run", "train --out run --pruned enc0.1");
  refuses(2, "--pruned: there is no head enc0.2: want enc0.0 to enc0.1",
          "train " SMALL " --steps 4 --pruned enc0.2 --out other");
  refuses(2, "--pruned: \"some\" is no head", "train " SMALL " --steps 4 --pruned some --out other");
}

/* ---- what cannot be meant -------------------------------------------------------------------------------- */

Test(translate_prune, wants_heads_that_there_are_and_a_new_directory) {
  make_run();
  refuses(2,
          "--heads: there is no head enc0.2: want enc0.0 to enc0.1, dec0.0 to dec0.1 or cross0.0 to cross0.1",
          "prune run --heads enc0.2 --out small");
  refuses(2, "--heads: \"all\" is no head: want a list such as", "prune run --heads all --out small");
  refuses(2, "--heads: enc0.1 is named twice", "prune run --heads enc0.1,1 --out small");
  refuses(2, "--heads LIST is missing", "prune run --out small");
  refuses(2, "--out NEW is missing", "prune run --heads enc0.1");
  refuses(2, "want one run's directory: translate prune DIR", "prune --heads enc0.1 --out small");
  refuses(2, "--use worst: want last, best, average or ema",
          "prune run --heads enc0.1 --out small --use worst");
  refuses(1, "run: holds a run already: choose another --out", "prune run --heads enc0.1 --out run");
  refuses(1, "missing/config.json: cannot read", "prune missing --heads enc0.1 --out small");
  put_text("file", "text\n");
  refuses(1, "file: exists and holds no run", "prune run --heads enc0.1 --out file");
  cr_assert_eq(truncate("run/model.safetensors", 1000), 0);
  refuses(1, "run/model.safetensors: ", "prune run --heads enc0.1 --out small");
}
