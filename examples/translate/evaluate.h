/* What a model makes of pairs, and how good it is: docs/measures.md says what each number is. */
#ifndef TRANSLATE_EVALUATE_H
#define TRANSLATE_EVALUATE_H

#include "measures.h"
#include "run.h"

/* Pairs with one source: a question with several right answers. */
typedef struct item {
  const int32_t *pair; /* [count]: places in the examples */
  int64_t count;
  int64_t references; /* so many of them, the first, have different targets */
} eval_item;

typedef struct evaluation {
  const example *examples; /* [pairs], the caller's */
  int64_t pairs, count;    /* count: items */
  eval_item *items;        /* [count], in the order in which their sources stand first */
  int32_t *order;          /* what their pairs point into */
  th_tensor made;          /* TH_I32 [count,limit]: an output for each, TH_EOS from its end on */
  scorecard card;          /* counts for each item */
} evaluation;

/* search: how outputs are looked for, one for each item. */
th_status evaluation_make(evaluation *e, run *r, const th_search_options *search, const example *examples,
                          int64_t count, th_error *error);
void evaluation_free(evaluation *e);

/* The same in short. */
typedef struct score {
  int64_t count, exact;    /* items, and those of which a whole output was right */
  double loss, perplexity; /* mean over the tokens of all pairs, without label smoothing; its exponential */
  double token_accuracy;   /* given the right tokens before */
  double exact_match;      /* of decoding, whole sequences */
  double character_errors; /* edits per character of the wanted text */
  double word_errors;      /* edits per word, which is a token where tokens are words */
  double bleu, chrf;       /* 0 to 100 */
} score;
th_status evaluate(run *r, const example *examples, int64_t count, score *result, th_error *error);

#endif
