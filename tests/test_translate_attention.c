/* translate train --attention KIND: every kind is a run like any other, to all commands. */
#include "translate_run.h"

TestSuite(translate_attention, .init = enter_directory, .fini = leave_directory);

/* Flags, and what the summary says of the heads. */
static const struct {
  const char *name, *flags, *says;
} kinds[] = {{"full", "--attention full", ""},
             {"multi", "--attention multi-query", "grouped, 1 of keys"},
             {"grouped", "--attention grouped --key-heads 2 --heads 4", "grouped, 2 of keys"},
             {"shared", "--attention collaborative --shared-width 6", "collaborative, shared width 6"},
             {"local", "--attention local --window 3", "local, window 3; across: full"},
             {"linear", "--attention linear", "linear"},
             {"talking", "--attention talking", "talking"},
             {"lsh", "--attention lsh --hash-rounds 2 --hash-chunk 4",
              "lsh, 2 rounds of hashing, 2 buckets, chunks of 4; across: full"},
             {"mixed", "--attention local --cross-attention grouped --key-heads 1",
              "local, window 8; across: grouped, 1 of keys"}};

#define FOR_EVERY(i) for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)

Test(translate_attention, each_kind_is_said_and_trains_to_the_same_bytes_on_two_threads) {
  FOR_EVERY(i) {
    const char *flags = kinds[i].flags;
    works("train " SMALL " --dropout 0.1 --steps 12 --report-every 6 --threads 1 %s --out whole", flags);
    assert_says(kinds[i].says);
    cr_expect(*kinds[i].says || !strstr(last.out, "heads attend"), "%s", last.out);
    works("train " SMALL " --dropout 0.1 --steps 12 --report-every 6 --threads 2 %s --out threads", flags);
    assert_same_run("whole", "threads");
    remove_tree("whole"), remove_tree("threads");
  }
}

Test(translate_attention, two_halves_make_the_same_as_one_run) {
  FOR_EVERY(i) {
#define RUN "train " SMALL " --dropout 0.1 --schedule constant "
    works(RUN "--steps 10 %s --out whole", kinds[i].flags);
    works(RUN "--steps 5 %s --out halves", kinds[i].flags);
    works("train --out halves --steps 10");
    assert_same_run("halves", "whole");
    remove_tree("whole"), remove_tree("halves");
  }
}

Test(translate_attention, every_command_reads_every_kind) {
  FOR_EVERY(i) {
    works("train " SMALL " --steps 30 %s --out run", kinds[i].flags);
    works("eval run --json");
    works("gradcheck run");
    cr_assert_eq(decode("run", "ABC\nCA\n"), 0, "%s: %s", kinds[i].name, last.err);
    char *kept = strdup(last.out);
    cr_assert_eq(filter("ABC\nCA\n", "decode run --no-cache"), 0, "%s", last.err);
    cr_expect_str_eq(last.out, kept, "%s", kinds[i].name);
    free(kept);
    cr_assert_eq(filter("ABC\n", "decode run --beam 3 --attention look.npy"), 0, "%s", last.err);
    works("heads run --sequences 10");
    cr_expect(exists("run/heads/report.html") && exists("run/heads/atlas.png"), "%s", kinds[i].name);
    remove_tree("run");
  }
}

#define REVERSIBLE " --reversible yes --norm pre --feed-forward-chunks 3"

Test(translate_attention, a_reversible_run_is_one_like_any_other) {
  works(RUN REVERSIBLE " --steps 10 --threads 1 --out whole");
  works(RUN REVERSIBLE " --steps 5 --threads 2 --out halves");
  works("train --out halves --steps 10");
  assert_same_run("halves", "whole");
  works("gradcheck whole");
  cr_assert_eq(decode("whole", "ABC\nCA\n"), 0, "%s", last.err);
  char *kept = strdup(last.out);
  cr_assert_eq(filter("ABC\nCA\n", "decode whole --no-cache"), 0, "%s", last.err);
  cr_expect_str_eq(last.out, kept);
  free(kept);
  works("heads whole --sequences 10");
  works("prune whole --heads enc0.0 --out smaller");
  works("eval smaller --json");
}

Test(translate_attention, flags_that_do_not_go_together_are_refused) {
  const struct {
    const char *flags, *text;
  } wrong[] = {
      {"--attention sparse", "--attention"},
      {"--window 4", "--window 4 is for --attention local, and this is full"},
      {"--attention linear --hash-rounds 2", "--hash-rounds 2 is for --attention lsh, and this is linear"},
      {"--attention grouped --key-heads 3", "3 key heads do not divide 2 heads"},
      {"--attention linear --positions rotary",
       "linear attention has no queries and keys for rotary positions"},
      {"--attention lsh --positions alibi", "lsh attention has no scores for ALiBi or relative positions"},
      {"--attention lsh --hash-buckets 3", "3 buckets: want an even number, or 1 for no hashing"},
      {"--cross-attention local", "--cross-attention"},
      {"--reversible yes --norm post", "--reversible yes wants --norm pre, too"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    refuses(2, wrong[i].text, "train " SMALL " %s --out run", wrong[i].flags);
}
