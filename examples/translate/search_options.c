#include "search_options.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOT_GIVEN (-INT_MAX) /* of flags that only a sample takes */

void search_flags_table(search_flags *f, struct poptOption table[SEARCH_FLAGS]) {
  *f = (search_flags){.beam = 1,
                      .alpha = 0.6,
                      .temperature = NOT_GIVEN,
                      .top_k = NOT_GIVEN,
                      .top_p = NOT_GIVEN,
                      .seed = NOT_GIVEN};
  const struct poptOption rows[SEARCH_FLAGS] = {
      {"beam", '\0', POPT_ARG_INT, &f->beam, 0,
       "beam search with N open hypotheses; 1: the likeliest token each time (default: 1)", "N"},
      {"alpha", '\0', POPT_ARG_DOUBLE, &f->alpha, 0,
       "a score is log probability / ((5 + tokens) / 6)^X; 0: no penalty (default: 0.6)", "X"},
      {"sample", '\0', POPT_ARG_NONE, &f->sample, 0, "draw each token from what the model says", NULL},
      {"temperature", '\0', POPT_ARG_DOUBLE, &f->temperature, 0,
       "of a sample: logits are divided by it; 0: the likeliest token each time (default: 1)", "X"},
      {"top-k", '\0', POPT_ARG_INT, &f->top_k, 0,
       "of a sample: only the N likeliest tokens; 0: all (default: 0)", "N"},
      {"top-p", '\0', POPT_ARG_DOUBLE, &f->top_p, 0,
       "of a sample: only the likeliest tokens that together have probability X (default: 1)", "X"},
      {"seed", '\0', POPT_ARG_LONGLONG, &f->seed, 0, "of a sample: the same seed draws the same (default: 1)",
       "N"},
      {"no-cache", '\0', POPT_ARG_NONE, &f->no_cache, 0,
       "compute every token's keys and values again each time: slow, the same outputs", NULL},
      OPTION_USE(&f->use),
      POPT_TABLEEND};
  memcpy(table, rows, sizeof rows);
}

static bool is_given(double value) { return value != NOT_GIVEN; }

th_status search_flags_check(search_flags *f, int64_t best, th_error *error) {
  const struct {
    const char *flag, *want;
    double value;
    bool right;
  } numbers[] = {
      {"--beam", "1 to 10000", f->beam, f->beam >= 1 && f->beam <= 10000},
      {"--alpha", "at least 0", f->alpha, f->alpha >= 0 && f->alpha < INFINITY},
      {"--temperature", "at least 0", f->temperature,
       !is_given(f->temperature) || (f->temperature >= 0 && f->temperature < INFINITY)},
      {"--top-k", "at least 0", f->top_k, !is_given(f->top_k) || f->top_k >= 0},
      {"--top-p", "above 0, at most 1", f->top_p, !is_given(f->top_p) || (f->top_p > 0 && f->top_p <= 1)},
      {"--seed", "at least 0", (double)f->seed, !is_given((double)f->seed) || f->seed >= 0}};
  if (f->sample && f->beam > 1)
    return th_error_set(error, TH_EINVAL, "--sample and --beam: want one of the two");
  if (!f->sample &&
      (is_given(f->temperature) || is_given(f->top_k) || is_given(f->top_p) || is_given((double)f->seed)))
    return th_error_set(
        error, TH_EINVAL,
        "--temperature, --top-k, --top-p and --seed are of a sample: want --sample with them");
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
    if (!numbers[i].right)
      return th_error_set(error, TH_EINVAL, "%s %g: want %s", numbers[i].flag, numbers[i].value,
                          numbers[i].want);
  if (!f->sample && best > f->beam)
    return th_error_set(error, TH_EINVAL,
                        "--n-best %lld: want as many open hypotheses: --beam %lld, or --sample",
                        (long long)best, (long long)best);
  return f->use ? run_weights_parse(f->use, &f->weights, error) : TH_OK;
}

void search_flags_free(search_flags *f) {
  free(f->use);
  f->use = NULL;
}

th_search_options search_options(const search_flags *f, const run *r, int64_t best) {
  return (th_search_options){.begin = TH_BOS,
                             .end = TH_EOS,
                             .limit = r->model->config.max_length,
                             .beam = f->beam,
                             .best = best,
                             .alpha = f->alpha,
                             .sample = f->sample,
                             .temperature = is_given(f->temperature) ? f->temperature : 1,
                             .top_k = is_given(f->top_k) ? f->top_k : 0,
                             .top_p = is_given(f->top_p) ? f->top_p : 1,
                             .seed = is_given((double)f->seed) ? (uint64_t)f->seed : 1,
                             .recompute = f->no_cache,
                             .unscored = !f->sample && f->beam == 1};
}
