/* Byte-pair encoding, beside a slow one that does what the paper's algorithm 1 says, word for word. */
#include "test_io_directory.h"

TestSuite(io_bpe, .init = enter_directory, .fini = leave_directory);

static th_vocabulary *learned(int64_t merges, int64_t min_count, size_t lines, const char *const *line) {
  th_vocabulary *v;
  th_error error;
  cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_BPE, &error), TH_OK);
  cr_assert_eq(th_vocabulary_set_merges(v, merges, &error), TH_OK);
  for (size_t i = 0; i < lines; i++)
    cr_assert_eq(th_vocabulary_add(v, line[i], strlen(line[i]), &error), TH_OK, "%s", error.text);
  cr_assert_eq(th_vocabulary_finish(v, min_count, &error), TH_OK);
  return v;
}

#define LEARNED(merges, min_count, ...) \
  learned(merges, min_count, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), \
          (const char *[]){__VA_ARGS__})

/* A text's tokens with '|' between; the special ones by their names. To be freed. */
static char *cut(const th_vocabulary *v, const char *text) {
  int32_t *ids;
  size_t count, size;
  char *out;
  cr_assert_eq(th_vocabulary_encode(v, text, strlen(text), &ids, &count, NULL), TH_OK);
  FILE *stream = open_memstream(&out, &size);
  for (size_t i = 0; i < count; i++) fprintf(stream, "%s%s", i ? "|" : "", th_vocabulary_token(v, ids[i]));
  cr_assert_eq(fclose(stream), 0);
  free(ids);
  return out;
}

static void assert_cut(const th_vocabulary *v, const char *text, const char *wanted) {
  char *found = cut(v, text);
  cr_assert_str_eq(found, wanted);
  free(found);
}

static void assert_comes_back(const th_vocabulary *v, const char *text, const char *wanted) {
  int32_t *ids;
  size_t count;
  char *back;
  cr_assert_eq(th_vocabulary_encode(v, text, strlen(text), &ids, &count, NULL), TH_OK);
  cr_assert_eq(th_vocabulary_decode(v, ids, count, &back, NULL), TH_OK);
  cr_assert_str_eq(back, wanted);
  free(ids);
  free(back);
}

static const char *side(const th_vocabulary *v, int32_t rank, bool is_right) {
  int32_t left, right;
  cr_assert(th_vocabulary_merge(v, rank, &left, &right));
  return th_vocabulary_token(v, is_right ? right : left);
}

/* ---- the paper, slowly ------------------------------------------------------------------------------- */

enum { SYMBOLS = 4000, MERGES = 400, BYTES = 64 };

typedef struct plain {
  char symbol[SYMBOLS][BYTES]; /* of all words; "" between two */
  int count;
  char left[MERGES][BYTES], right[MERGES][BYTES];
  int merges;
} plain;

static bool known_to(const plain *p, const char *character) {
  for (int i = 0; i < p->count; i++)
    if (!strcmp(p->symbol[i], character)) return true;
  return false;
}

/* Appends a line of words with spaces between, in characters; those not in `from` (NULL: all are) as "?". */
static void plain_split(plain *p, const char *line, const plain *from) {
  for (const char *c = line; *c;) {
    int bytes = 1;
    while (((unsigned char)c[bytes] & 0xC0) == 0x80) bytes++;
    if (*c != ' ') {
      char *to = p->symbol[p->count++];
      snprintf(to, BYTES, "%.*s", bytes, c);
      if (from && !known_to(from, to)) strcpy(to, "?");
    }
    c += bytes;
    if (c[-1] != ' ' && (*c == ' ' || !*c)) {
      strcpy(p->symbol[p->count++], " ");
      strcpy(p->symbol[p->count++], "");
    }
  }
}

static bool plain_is(const plain *p, int i, const char *left, const char *right) {
  return i + 1 < p->count && !strcmp(p->symbol[i], left) && !strcmp(p->symbol[i + 1], right);
}

static void plain_join(plain *p, const char *left, const char *right) {
  int kept = 0;
  for (int i = 0; i < p->count; i++) {
    char text[2 * BYTES];
    bool joined = plain_is(p, i, left, right);
    snprintf(text, sizeof text, "%s%s", p->symbol[i], joined ? p->symbol[i + 1] : "");
    cr_assert_lt(strlen(text), BYTES);
    strcpy(p->symbol[kept++], text);
    i += joined;
  }
  p->count = kept;
}

static void plain_learn(plain *p, int merges, int least) {
  while (p->merges < merges) {
    int most = 0, best = -1;
    for (int i = 0; i + 1 < p->count; i++) {
      const char *left = p->symbol[i], *right = p->symbol[i + 1];
      int seen = 0;
      if (!*left || !*right || *left == '?' || *right == '?') continue;
      for (int j = 0; j < p->count; j++) seen += plain_is(p, j, left, right);
      int order = seen == most && best >= 0 ? strcmp(left, p->symbol[best]) : 0;
      if (!order && seen == most && best >= 0) order = strcmp(right, p->symbol[best + 1]);
      if (seen > most || order < 0) most = seen, best = i;
    }
    if (most < least) break;
    strcpy(p->left[p->merges], p->symbol[best]);
    strcpy(p->right[p->merges], p->symbol[best + 1]);
    plain_join(p, p->left[p->merges], p->right[p->merges]);
    p->merges++;
  }
}

/* As `cut` says it. */
static char *plain_cut(const plain *from, const plain *characters, const char *line) {
  static plain p;
  char *out;
  size_t size;
  p.count = 0;
  plain_split(&p, line, characters);
  for (int i = 0; i < from->merges; i++) plain_join(&p, from->left[i], from->right[i]);
  FILE *stream = open_memstream(&out, &size);
  for (int i = 0, first = 1; i < p.count; i++) {
    if (!p.symbol[i][0]) continue;
    fprintf(stream, "%s%s", first ? "" : "|", p.symbol[i][0] == '?' ? "<unk>" : p.symbol[i]);
    first = 0;
  }
  cr_assert_eq(fclose(stream), 0);
  return out;
}

/* Words of the first `letters` of a few characters. */
static void random_line(th_random random, uint64_t *position, int letters, char *line) {
  static const char *const alphabet[] = {"a", "b", "\u00E9", "c", "\u65E5", "d", "\U0001F600", "z"};
  *line = '\0';
  for (int64_t words = 1 + th_random_below(random, (*position)++, 6); words > 0; words--) {
    for (int64_t n = 1 + th_random_below(random, (*position)++, 9); n > 0; n--)
      strcat(line, alphabet[th_random_below(random, (*position)++, letters)]);
    strcat(line, words > 1 ? " " : "");
  }
}

static void assert_agrees(int letters, uint64_t seed, int merges, int min_count) {
  static plain p, characters;
  static char lines[24][512];
  const char *line[24];
  uint64_t position = 0;
  p.count = p.merges = characters.count = 0;
  for (int i = 0; i < 24; i++) {
    random_line((th_random){seed, 0}, &position, letters, lines[i]);
    line[i] = lines[i];
    plain_split(&p, lines[i], NULL);
  }
  characters = p;
  plain_learn(&p, merges, min_count < 2 ? 2 : min_count);
  th_vocabulary *v = learned(merges, min_count, 24, line);
  cr_assert_eq(th_vocabulary_merges(v), p.merges);
  for (int32_t rank = 0; rank < p.merges; rank++) {
    cr_assert_str_eq(side(v, rank, false), p.left[rank], "merge %d", rank);
    cr_assert_str_eq(side(v, rank, true), p.right[rank], "merge %d", rank);
  }
  for (int i = 0; i < 60; i++) { /* lines of the corpus, then others, which have characters it does not */
    char other[512];
    random_line((th_random){seed, 1}, &position, letters < 8 ? letters + 1 : 8, other);
    const char *text = i < 24 ? line[i] : other;
    char *found = cut(v, text), *wanted = plain_cut(&p, &characters, text);
    cr_assert_str_eq(found, wanted);
    free(found);
    free(wanted);
  }
  th_vocabulary_free(v);
}

/* ---- learning ---------------------------------------------------------------------------------------- */

#define FIVE(word) word " " word " " word " " word " " word
#define PAPER FIVE("low"), "lower lower", FIVE("newest") " newest", "widest widest widest"

Test(io_bpe, learns_the_papers_example) {
  static const char *const wanted[][2] = {{"e", "s"}, {"es", "t"}, {"est", " "}, {"l", "o"}, {"lo", "w"}};
  th_vocabulary *v = LEARNED(10, 1, PAPER);
  for (int32_t i = 0; i < 5; i++) {
    cr_assert_str_eq(side(v, i, false), wanted[i][0], "merge %d", i);
    cr_assert_str_eq(side(v, i, true), wanted[i][1], "merge %d", i);
  }
  assert_cut(v, "lowest low lower", "low|est |low |low|e|r| ");
  th_vocabulary_free(v);
}

Test(io_bpe, merges_and_cuts_are_those_of_the_plain_algorithm) {
  for (int letters = 1; letters <= 8; letters++)
    for (uint64_t seed = 1; seed <= 3; seed++) assert_agrees(letters, seed, 120, 1);
  assert_agrees(3, 4, 0, 1);
  assert_agrees(2, 5, 7, 1);
}

Test(io_bpe, a_pair_seen_fewer_than_min_count_times_is_not_joined) {
  for (uint64_t seed = 1; seed <= 3; seed++) assert_agrees(4, seed, 300, 9);
}

Test(io_bpe, stops_when_no_pair_occurs_twice) {
  th_vocabulary *v = LEARNED(1000, 1, "abc abd");
  cr_assert_eq(th_vocabulary_merges(v), 1);
  cr_assert_eq(th_vocabulary_count(v), TH_SPECIALS + 5 + 1);
  cr_assert_str_eq(th_vocabulary_token(v, th_vocabulary_count(v) - 1), "ab");
  th_vocabulary_free(v);
}

Test(io_bpe, without_merges_a_word_is_its_characters) {
  th_vocabulary *v;
  cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_BPE, NULL), TH_OK);
  cr_assert_eq(th_vocabulary_add(v, "aa aa", 5, NULL), TH_OK);
  cr_assert_eq(th_vocabulary_finish(v, 1, NULL), TH_OK);
  assert_cut(v, "aa a", "a|a| |a| ");
  th_vocabulary_free(v);
}

Test(io_bpe, the_order_of_the_texts_changes_nothing) {
  th_vocabulary *v = LEARNED(50, 1, PAPER, "wide new l\u00F6wer", "slow"),
                *w = LEARNED(50, 1, "slow", "wide new lo\u0308wer", PAPER);
  cr_assert_eq(th_vocabulary_save(v, "v.json", NULL), TH_OK);
  cr_assert_eq(th_vocabulary_save(w, "w.json", NULL), TH_OK);
  char *bytes;
  size_t size;
  cr_assert_eq(th_file_read("v.json", &bytes, &size, NULL), TH_OK);
  assert_holds("w.json", bytes, size);
  free(bytes);
  th_vocabulary_free(v);
  th_vocabulary_free(w);
}

Test(io_bpe, ids_are_characters_by_code_point_then_merges_in_order) {
  th_vocabulary *v = LEARNED(2, 1, "ba\x01 ba\u00E9");
  static const char *const wanted[] = {"\x01", " ", "a", "b", "\u00E9", "ba"};
  cr_assert_eq(th_vocabulary_unit(v), TH_UNIT_BPE);
  cr_assert_eq(th_vocabulary_count(v), TH_SPECIALS + 6);
  for (int32_t i = 0; i < 6; i++) {
    cr_assert_str_eq(th_vocabulary_token(v, TH_SPECIALS + i), wanted[i]);
    cr_assert_eq(th_vocabulary_id(v, wanted[i]), TH_SPECIALS + i);
  }
  int32_t left, right;
  cr_assert_not(th_vocabulary_merge(v, -1, &left, &right));
  cr_assert_not(th_vocabulary_merge(v, 1, &left, &right));
  th_vocabulary_free(v);
}

Test(io_bpe, merges_are_asked_for_before_the_end_and_of_this_unit) {
  th_error error;
  th_vocabulary *v;
  static const char wanted[] = "vocabulary: merges are for unit bpe, before it is finished";
  cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_WORD, NULL), TH_OK);
  assert_fails(th_vocabulary_set_merges(v, 5, &error), TH_EINVAL, &error, wanted);
  th_vocabulary_free(v);
  v = LEARNED(5, 1, "a");
  assert_fails(th_vocabulary_set_merges(v, 5, &error), TH_EINVAL, &error, wanted);
  th_vocabulary_free(v);
  cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_BPE, NULL), TH_OK);
  assert_fails(th_vocabulary_set_merges(v, -1, &error), TH_EINVAL, &error,
               "vocabulary: -1 merges: want 0 to 2147483647");
  th_vocabulary_free(v);
}

/* ---- texts there and back ------------------------------------------------------------------------------ */

static const char *const languages[] = {
    "The quick brown fox jumps over the lazy dog.",
    "Zw\u00F6lf Boxk\u00E4mpfer jagen Viktor quer \u00FCber den gro\u00DFen Sylter Deich.",
    "\u0421\u044A\u0435\u0448\u044C \u0436\u0435 \u0435\u0449\u0451 \u044D\u0442\u0438\u0445 "
    "\u0431\u0443\u043B\u043E\u043A",
    "\u65E5\u672C\u8A9E\u306E\u6587\u7AE0\u3068 \u65E5\u672C\u8A9E\u306E\u8A9E\u5F59",
    "\u0627\u0644\u0644\u063A\u0629 \u0627\u0644\u0639\u0631\u0628\u064A\u0629 "
    "\u0627\u0644\u0644\u063A\u0629",
    "\u0939\u093F\u0928\u094D\u0926\u0940 \u092D\u093E\u0937\u093E \u0939\u093F\u0928\u094D\u0926\u0940",
    "\U0001F468\u200D\U0001F469\u200D\U0001F467 and \U0001F468\u200D\U0001F469\u200D\U0001F467 "
    "z\u0335\u0322a",
    "a</w> </w> </w>b \u2581 \u2581low low\u2581 @@ lo@@ w@@ ## ##low",
    "<pad> <pad> <bos> <unk> <unk> x<eos>y x<eos>y",
};
enum { LANGUAGES = sizeof languages / sizeof *languages };

Test(io_bpe, every_text_comes_back_whatever_it_is_written_in) {
  for (int64_t merges = 0; merges <= 1000; merges = merges * 2 + 5) {
    th_vocabulary *v = learned(merges, 1, LANGUAGES, languages);
    for (size_t i = 0; i < LANGUAGES; i++) assert_comes_back(v, languages[i], languages[i]);
    assert_comes_back(v, "", "");
    assert_comes_back(v, " \u3000\tthe\u00A0  low\n\u2028", "the low");
    th_vocabulary_free(v);
  }
}

Test(io_bpe, signs_that_look_like_marks_are_text) {
  th_vocabulary *v = LEARNED(100, 1, "a</w> a</w> </w> </w> \u2581b \u2581b");
  assert_comes_back(v, "a</w>a </w> \u2581b b\u2581", "a</w>a </w> \u2581b b\u2581");
  assert_cut(v, "a</w>", "a</w> ");
  th_vocabulary_free(v);
}

Test(io_bpe, no_token_is_spelt_like_a_special_one) {
  th_vocabulary *v = LEARNED(100, 1, "<eos>x <eos>x <eos>y <eos>y <eos>z");
  cr_assert_eq(th_vocabulary_id(v, "<eos>"), TH_UNK);
  cr_assert_neq(th_vocabulary_id(v, "<eos"), TH_UNK);
  assert_comes_back(v, "<eos> <eos>x z<eos>", "<eos> <eos>x z<eos>");
  th_vocabulary_free(v);
}

Test(io_bpe, two_spellings_of_a_character_are_one) {
  th_vocabulary *v = LEARNED(100, 1, "e\u0301t\u00E9 \u00E9te\u0301");
  assert_cut(v, "e\u0301te\u0301", "\u00E9t\u00E9 ");
  assert_comes_back(v, "e\u0301te\u0301", "\u00E9t\u00E9");
  th_vocabulary_free(v);
}

Test(io_bpe, each_unknown_character_is_one_and_leaves_its_neighbours_alone) {
  th_vocabulary *v = LEARNED(100, 1, "low low slow");
  assert_cut(v, "lowQ\u65E5low", "low|<unk>|<unk>|low ");
  assert_comes_back(v, "lowQ\u65E5low", "lowlow");
  assert_comes_back(v, "Q low \u65E5 Q low Q", "low low");
  th_vocabulary_free(v);
}

Test(io_bpe, rare_characters_are_unknown_and_of_no_merge) {
  th_vocabulary *v = LEARNED(100, 2, "axb axb", "ayb ayb", "azb");
  assert_cut(v, "azb axb", "a|<unk>|b |axb ");
  cr_assert_eq(th_vocabulary_id(v, "z"), TH_UNK);
  th_vocabulary_free(v);
}

Test(io_bpe, decoding_leaves_out_special_tokens_and_stops_at_the_end) {
  th_vocabulary *v = LEARNED(100, 1, "low low b");
  int32_t low = th_vocabulary_id(v, "low "), b = th_vocabulary_id(v, "b"), end = th_vocabulary_id(v, " ");
  const int32_t ids[] = {TH_BOS, end, low, TH_UNK, end, end, b, TH_PAD, b, end, TH_EOS, low};
  char *text;
  cr_assert_eq(th_vocabulary_decode(v, ids, sizeof ids / sizeof *ids, &text, NULL), TH_OK);
  cr_assert_str_eq(text, "low bb");
  free(text);
  th_vocabulary_free(v);
}

Test(io_bpe, a_mark_in_the_place_of_special_tokens_leaves_the_spaces_where_they_are) {
  th_vocabulary *v = LEARNED(100, 1, "low low b");
  static const char *const texts[][2] = {{"low zb", "low ?b"}, {"low z low", "low ? low"},
                                         {"bzb b", "b?b b"},   {"z low z", "? low ?"},
                                         {"zz", "??"},         {"low", "low"}};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    int32_t *ids;
    size_t count;
    char *text;
    cr_assert_eq(th_vocabulary_encode(v, texts[i][0], strlen(texts[i][0]), &ids, &count, NULL), TH_OK);
    cr_assert_eq(th_vocabulary_decode_marked(v, ids, count, "?", &text, NULL), TH_OK);
    cr_assert_str_eq(text, texts[i][1]);
    free(text);
    free(ids);
  }
  th_vocabulary_free(v);
}

Test(io_bpe, a_word_of_a_million_letters_is_cut) {
  enum { LETTERS = 1000000 };
  th_vocabulary *v = LEARNED(100, 1, "aaaaaaaaaaaaaaaa aaaaaaaaaaaaaaaa");
  char *word = malloc(LETTERS + 1);
  int32_t *ids;
  size_t count;
  memset(word, 'a', LETTERS);
  cr_assert_eq(th_vocabulary_encode(v, word, LETTERS, &ids, &count, NULL), TH_OK);
  cr_assert_eq(count, LETTERS / 8 - 1);
  cr_assert_str_eq(th_vocabulary_token(v, ids[count - 1]), "aaaaaaaaaaaaaaaa ");
  free(word);
  free(ids);
  th_vocabulary_free(v);
}

/* ---- the file -------------------------------------------------------------------------------------------- */

#define SPECIALS "\"<pad>\",\"<bos>\",\"<eos>\",\"<unk>\""
#define BPE(tokens, rest) \
  "{\"format\":\"tapehead vocabulary\",\"version\":1,\"unit\":\"bpe\",\"tokens\":[" SPECIALS tokens "]" rest \
  "}"

Test(io_bpe, the_file_has_tokens_and_merges) {
  th_vocabulary *v = LEARNED(2, 1, "\"es \"es \"e");
  cr_assert_eq(th_vocabulary_save(v, "vocab.json", NULL), TH_OK);
  assert_holds_text("vocab.json", "{\n \"format\": \"tapehead vocabulary\",\n \"version\": 1,\n"
                                  " \"unit\": \"bpe\",\n \"tokens\": [\n  \"<pad>\",\n  \"<bos>\",\n"
                                  "  \"<eos>\",\n  \"<unk>\",\n  \" \",\n  \"\\\"\",\n  \"e\",\n  \"s\",\n"
                                  "  \"\\\"e\",\n  \"\\\"es\"\n ],\n"
                                  " \"merges\": [\n  \"\\\" e\",\n  \"\\\"e s\"\n ]\n}\n");
  th_vocabulary_free(v);
}

Test(io_bpe, what_is_saved_is_loaded) {
  th_vocabulary *v = learned(300, 1, LANGUAGES, languages), *w;
  th_error error = {0};
  cr_assert_eq(th_vocabulary_save(v, "vocab.json", &error), TH_OK);
  cr_assert_eq(th_vocabulary_load(&w, "vocab.json", &error), TH_OK, "%s", error.text);
  cr_assert_eq(th_vocabulary_unit(w), TH_UNIT_BPE);
  cr_assert_eq(th_vocabulary_count(w), th_vocabulary_count(v));
  cr_assert_eq(th_vocabulary_merges(w), th_vocabulary_merges(v));
  for (int32_t id = 0; id < th_vocabulary_count(v); id++)
    cr_assert_str_eq(th_vocabulary_token(w, id), th_vocabulary_token(v, id));
  for (size_t i = 0; i < LANGUAGES; i++) {
    char *wanted = cut(v, languages[i]);
    assert_cut(w, languages[i], wanted);
    free(wanted);
  }
  th_vocabulary_free(v);
  th_vocabulary_free(w);
}

Test(io_bpe, a_file_of_another_order_of_characters_is_loaded) {
  th_vocabulary *v;
  put_text("vocab.json", BPE(",\"c\",\" \",\"a\",\"ac\",\"ac \"", ",\"merges\":[\"a c\",\"ac  \"]"));
  cr_assert_eq(th_vocabulary_load(&v, "vocab.json", NULL), TH_OK);
  assert_cut(v, "aac ca", "a|ac |c|a| ");
  th_vocabulary_free(v);
}

static void assert_refused(const char *file, const char *text) {
  th_error error;
  th_vocabulary *v;
  put_text("vocab.json", file);
  assert_fails(th_vocabulary_load(&v, "vocab.json", &error), TH_EFORMAT, &error, text);
  cr_assert_null(v);
}

Test(io_bpe, merges_that_are_no_list_are_refused) {
  static const char wanted[] =
      "vocab.json: \"merges\" is not an array with a merge for each token that is no character";
  assert_refused(BPE(",\" \",\"a\"", ""), wanted);
  assert_refused(BPE(",\" \",\"a\"", ",\"merges\":7"), wanted);
  assert_refused(BPE(",\" \",\"a\"", ",\"merges\":{\"a\":\"b\"}"), wanted);
  assert_refused(BPE(",\" \",\"a\"", ",\"merges\":[\"a a\",\"a a\",\"a a\"]"), wanted);
}

#define MERGES_OF(merges) BPE(",\" \",\"a\",\"b\",\"ab\",\"aab\"", ",\"merges\":[" merges "]")

Test(io_bpe, merges_of_what_is_not_there_yet_are_refused) {
  assert_refused(MERGES_OF("\"a c\",\"a ab\""),
                 "vocab.json: merge 0 \"a c\": its right token is none before token 7");
  assert_refused(MERGES_OF("\"<pad> b\",\"a ab\""),
                 "vocab.json: merge 0 \"<pad> b\": its left token is none before token 7");
  assert_refused(MERGES_OF("\"a ab\",\"a b\""),
                 "vocab.json: merge 0 \"a ab\": its right token is none before token 7");
  assert_refused(MERGES_OF("\"a b\",\"aab b\""),
                 "vocab.json: merge 1 \"aab b\": its left token is none before token 8");
  assert_refused(MERGES_OF("\"a b\",\"  a\""),
                 "vocab.json: merge 1 \"  a\": its left token is none before token 8");
}

Test(io_bpe, merges_that_make_something_else_are_refused) {
  assert_refused(MERGES_OF("\"b a\",\"a ab\""), "vocab.json: merge 0 \"b a\" does not make token 7");
  assert_refused(MERGES_OF("\"a b\",\"a b\""), "vocab.json: merge 1 \"a b\" does not make token 8");
  assert_refused(MERGES_OF("\"a b\",\"a  \""), "vocab.json: merge 1 \"a  \" does not make token 8");
  assert_refused(MERGES_OF("\"a b\",\"ab\""),
                 "vocab.json: merge 1 is not a string of two tokens and a space between");
  assert_refused(MERGES_OF("\"a b\",[4,5]"),
                 "vocab.json: merge 1 is not a string of two tokens and a space between");
}

Test(io_bpe, tokens_that_cannot_be_are_refused) {
  assert_refused(BPE(",\"a\"", ",\"merges\":[]"),
                 "vocab.json: the end of a word, \" \", is not among the tokens");
  assert_refused(BPE(",\" \",\"a\",\"ab\"", ",\"merges\":[]"),
                 "vocab.json: token 6 \"ab\": neither a character nor of a merge");
  assert_refused(BPE(",\" \",\"a \"", ",\"merges\":[]"),
                 "vocab.json: token 5 \"a \": neither a character nor of a merge");
  assert_refused(BPE(",\" \",\" a\"", ",\"merges\":[]"), "vocab.json: token 5 \" a\": not one word");
  assert_refused(BPE(",\" \",\"  \"", ",\"merges\":[]"), "vocab.json: token 5 \"  \": not one word");
  assert_refused(BPE(",\" \",\"\"", ",\"merges\":[]"), "vocab.json: token 5 \"\": not one word");
  assert_refused(BPE(",\" \",\"\u3000\"", ",\"merges\":[]"), "vocab.json: token 5 \"\u3000\": not one word");
  assert_refused(BPE(",\" \",\"\u212B\"", ",\"merges\":[]"),
                 "vocab.json: token 5 \"\u212B\": not in normal form C");
  assert_refused(BPE(",\" \",\"a\",\"aa\",\"aa\"", ",\"merges\":[\"a a\",\"a a\"]"),
                 "vocab.json: token 7 \"aa\": given twice");
}

Test(io_bpe, merges_that_are_not_utf8_are_refused) {
  th_error error;
  th_vocabulary *v;
  put_text("vocab.json", MERGES_OF("\"a b\",\"a \xFF\""));
  cr_assert_eq(th_vocabulary_load(&v, "vocab.json", &error), TH_EFORMAT);
  cr_assert_not_null(strstr(error.text, "unable to decode byte 0xff"), "%s", error.text);
  cr_assert_null(strchr(error.text, '\n'));
}

/* Each file that is one byte away from a good one is refused in one line, or loaded and used. */
Test(io_bpe, no_damaged_file_does_harm) {
  static const char good[] = MERGES_OF("\"a b\",\"a ab\"");
  for (size_t i = 0; i < sizeof good - 1; i++)
    for (const char *byte = " a\"<\xFF"; *byte; byte++) {
      char bad[sizeof good];
      th_error error;
      th_vocabulary *v;
      memcpy(bad, good, sizeof good);
      bad[i] = *byte;
      put("vocab.json", bad, sizeof good - 1);
      if (th_vocabulary_load(&v, "vocab.json", &error) == TH_OK) free(cut(v, "abaab aab b"));
      else cr_assert(error.text[0] && !strchr(error.text, '\n'));
      th_vocabulary_free(v);
    }
}
