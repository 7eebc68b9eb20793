#include "test_io_directory.h"

TestSuite(vocabulary, .init = enter_directory, .fini = leave_directory);

static th_vocabulary *vocabulary_of(th_unit unit, int64_t min_count, size_t lines, const char *const *line) {
  th_vocabulary *vocabulary;
  th_error error;
  cr_assert_eq(th_vocabulary_new(&vocabulary, unit, &error), TH_OK);
  for (size_t i = 0; i < lines; i++)
    cr_assert_eq(th_vocabulary_add(vocabulary, line[i], strlen(line[i]), &error), TH_OK, "%s", error.text);
  cr_assert_eq(th_vocabulary_finish(vocabulary, min_count, &error), TH_OK);
  return vocabulary;
}

#define VOCABULARY(unit, min_count, ...) \
  vocabulary_of(unit, min_count, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), \
                (const char *[]){__VA_ARGS__})

static void assert_encodes(const th_vocabulary *vocabulary, const char *text, size_t count,
                           const int32_t *wanted) {
  int32_t *ids;
  size_t found;
  cr_assert_eq(th_vocabulary_encode(vocabulary, text, strlen(text), &ids, &found, NULL), TH_OK);
  cr_assert_eq(found, count);
  for (size_t i = 0; i < count; i++)
    cr_assert_eq(ids[i], wanted[i], "id %zu of \"%s\" is %d", i, text, (int)ids[i]);
  free(ids);
}

#define ENCODES(vocabulary, text, ...) \
  assert_encodes(vocabulary, text, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), \
                 (int32_t[]){__VA_ARGS__})

static void assert_decodes(const th_vocabulary *vocabulary, size_t count, const int32_t *ids,
                           const char *wanted) {
  char *text;
  cr_assert_eq(th_vocabulary_decode(vocabulary, ids, count, &text, NULL), TH_OK);
  cr_assert_str_eq(text, wanted);
  free(text);
}

#define DECODES(vocabulary, wanted, ...) \
  assert_decodes(vocabulary, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (int32_t[]){__VA_ARGS__}, \
                 wanted)

Test(vocabulary, the_special_tokens_come_first) {
  th_vocabulary *v;
  cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_WORD, NULL), TH_OK);
  cr_assert_eq(th_vocabulary_count(v), 4);
  cr_assert_str_eq(th_vocabulary_token(v, TH_PAD), "<pad>");
  cr_assert_str_eq(th_vocabulary_token(v, TH_BOS), "<bos>");
  cr_assert_str_eq(th_vocabulary_token(v, TH_EOS), "<eos>");
  cr_assert_str_eq(th_vocabulary_token(v, TH_UNK), "<unk>");
  th_vocabulary_free(v);
  th_vocabulary_free(NULL);
}

Test(vocabulary, characters_are_numbered_by_code_point_whatever_the_order_of_lines) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_CHARACTER, 1, "ba", "\U0001F600 z", "\u00E9\uFFFD");
  const char *wanted[] = {" ", "a", "b", "z", "\u00E9", "\uFFFD", "\U0001F600"};
  cr_assert_eq(th_vocabulary_unit(v), TH_UNIT_CHARACTER);
  cr_assert_eq(th_vocabulary_count(v), 4 + 7);
  for (int32_t i = 0; i < 7; i++) {
    cr_assert_str_eq(th_vocabulary_token(v, 4 + i), wanted[i]);
    cr_assert_eq(th_vocabulary_id(v, wanted[i]), 4 + i);
  }
  cr_assert_null(th_vocabulary_token(v, 11));
  cr_assert_null(th_vocabulary_token(v, -1));
  cr_assert_eq(th_vocabulary_id(v, "q"), TH_UNK);
  th_vocabulary_free(v);
}

Test(vocabulary, what_is_encoded_is_decoded) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_CHARACTER, 1, "hello w\u00F6rld");
  int32_t *ids;
  size_t count;
  char *text;
  cr_assert_eq(th_vocabulary_encode(v, "w\u00F6 he", 6, &ids, &count, NULL), TH_OK);
  cr_assert_eq(count, 5);
  cr_assert_eq(th_vocabulary_decode(v, ids, count, &text, NULL), TH_OK);
  cr_assert_str_eq(text, "w\u00F6 he");
  free(ids);
  free(text);
  th_vocabulary_free(v);
}

Test(vocabulary, two_spellings_of_a_character_are_one) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_CHARACTER, 1, "e\u0301");
  cr_assert_eq(th_vocabulary_count(v), 5);
  cr_assert_str_eq(th_vocabulary_token(v, 4), "\u00E9");
  ENCODES(v, "\u00E9e\u0301", 4, 4);
  th_vocabulary_free(v);
}

Test(vocabulary, words_are_cut_at_any_white_space) {
  th_vocabulary *v =
      VOCABULARY(TH_UNIT_WORD, 1, "  one\ttwo\u3000three\u00A0four\u2028five\xC2\x85six ", "", " ");
  cr_assert_eq(th_vocabulary_count(v), 4 + 6);
  ENCODES(v, "five  six\nseven", 4, 7, TH_UNK);
  DECODES(v, "five six", 4, 7);
  th_vocabulary_free(v);
}

Test(vocabulary, rare_tokens_are_dropped) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_WORD, 2, "c b a b c", "c d e f g h i");
  cr_assert_eq(th_vocabulary_count(v), 4 + 2);
  ENCODES(v, "a b c", TH_UNK, 4, 5);
  th_vocabulary_free(v);
}

Test(vocabulary, a_word_spelt_like_a_special_token_is_unknown) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_WORD, 1, "<eos> a <pad>");
  cr_assert_eq(th_vocabulary_count(v), 5);
  ENCODES(v, "<eos> a <pad>", TH_UNK, 4, TH_UNK);
  th_vocabulary_free(v);
}

Test(vocabulary, decoding_stops_at_the_end_and_leaves_out_special_tokens) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_WORD, 1, "a b");
  DECODES(v, "a b", TH_BOS, 4, TH_UNK, TH_PAD, 5, TH_EOS, 4, 99);
  DECODES(v, "", TH_EOS);
  assert_decodes(v, 0, NULL, "");
  th_vocabulary_free(v);
}

Test(vocabulary, an_empty_text_has_no_ids) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_CHARACTER, 1, "a");
  int32_t *ids;
  size_t count;
  cr_assert_eq(th_vocabulary_encode(v, NULL, 0, &ids, &count, NULL), TH_OK);
  cr_assert_eq(count, 0);
  cr_assert_not_null(ids);
  free(ids);
  th_vocabulary_free(v);
}

Test(vocabulary, an_id_out_of_range_is_refused) {
  th_error error;
  char *text;
  th_vocabulary *v = VOCABULARY(TH_UNIT_WORD, 1, "a");
  assert_fails(th_vocabulary_decode(v, (int32_t[]){4, 5}, 2, &text, &error), TH_EINVAL, &error,
               "vocabulary: id 5 is not one of its 5");
  assert_fails(th_vocabulary_decode(v, (int32_t[]){-1}, 1, &text, &error), TH_EINVAL, &error,
               "vocabulary: id -1 is not one of its 5");
  cr_assert_null(text);
  th_vocabulary_free(v);
}

Test(vocabulary, text_that_is_not_utf8_is_refused_with_its_place) {
  static const struct {
    const char *text;
    size_t length, byte;
  } cases[] = {
      {"abcdef\xFF", 7, 7},  {"\x80", 1, 1},         {"a\xC3", 2, 2},
      {"\xC0\xAF", 2, 1},    {"\xED\xA0\x80", 3, 1}, {"\xF4\x90\x80\x80", 4, 1},
      {"\u00E9\xE9z", 4, 3},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    th_error error;
    char wanted[64];
    int32_t *ids;
    size_t count;
    th_vocabulary *v;
    snprintf(wanted, sizeof wanted, "not valid UTF-8 at byte %zu", cases[i].byte);
    cr_assert_eq(th_utf8_valid(cases[i].text, cases[i].length), cases[i].byte - 1);
    cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_CHARACTER, NULL), TH_OK);
    assert_fails(th_vocabulary_add(v, cases[i].text, cases[i].length, &error), TH_EFORMAT, &error, wanted);
    cr_assert_eq(th_vocabulary_finish(v, 1, NULL), TH_OK);
    cr_assert_eq(th_vocabulary_count(v), 4);
    assert_fails(th_vocabulary_encode(v, cases[i].text, cases[i].length, &ids, &count, &error), TH_EFORMAT,
                 &error, wanted);
    cr_assert_null(ids);
    th_vocabulary_free(v);
  }
}

Test(vocabulary, a_zero_byte_is_refused_with_its_place) {
  th_error error;
  th_vocabulary *v;
  cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_CHARACTER, NULL), TH_OK);
  assert_fails(th_vocabulary_add(v, "ab\0c", 4, &error), TH_EFORMAT, &error, "a zero byte at byte 3");
  th_vocabulary_free(v);
}

Test(vocabulary, collecting_and_using_do_not_mix) {
  th_error error;
  th_vocabulary *v;
  int32_t *ids;
  size_t count;
  assert_fails(th_vocabulary_new(&v, (th_unit)7, &error), TH_EINVAL, &error,
               "vocabulary: unit 7 is none of character, word, bpe");
  cr_assert_eq(th_vocabulary_new(&v, TH_UNIT_CHARACTER, NULL), TH_OK);
  assert_fails(th_vocabulary_encode(v, "a", 1, &ids, &count, &error), TH_EINVAL, &error,
               "vocabulary: used before it was finished");
  assert_fails(th_vocabulary_save(v, "vocab.json", &error), TH_EINVAL, &error,
               "vocab.json: a vocabulary that is not finished cannot be saved");
  cr_assert_eq(th_vocabulary_finish(v, 1, NULL), TH_OK);
  assert_fails(th_vocabulary_finish(v, 1, &error), TH_EINVAL, &error, "vocabulary: finished twice");
  assert_fails(th_vocabulary_add(v, "a", 1, &error), TH_EINVAL, &error,
               "vocabulary: text added after it was finished");
  th_vocabulary_free(v);
}

Test(vocabulary, the_file_is_json_in_order_of_ids) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_CHARACTER, 1, "\"\u00E9\n");
  cr_assert_eq(th_vocabulary_save(v, "vocab.json", NULL), TH_OK);
  assert_holds_text("vocab.json",
                    "{\n \"format\": \"tapehead vocabulary\",\n \"version\": 1,\n"
                    " \"unit\": \"character\",\n \"tokens\": [\n  \"<pad>\",\n  \"<bos>\",\n"
                    "  \"<eos>\",\n  \"<unk>\",\n  \"\\n\",\n  \"\\\"\",\n  \"\u00E9\"\n ]\n}\n");
  th_vocabulary_free(v);
}

Test(vocabulary, what_is_saved_is_loaded) {
  th_vocabulary *v = VOCABULARY(TH_UNIT_WORD, 1, "the quick br\u00F6wn fox \u65E5\u672C"), *w;
  cr_assert_eq(th_vocabulary_save(v, "vocab.json", NULL), TH_OK);
  cr_assert_eq(th_vocabulary_load(&w, "vocab.json", NULL), TH_OK);
  cr_assert_eq(th_vocabulary_unit(w), TH_UNIT_WORD);
  cr_assert_eq(th_vocabulary_count(w), th_vocabulary_count(v));
  for (int32_t id = 0; id < th_vocabulary_count(v); id++)
    cr_assert_str_eq(th_vocabulary_token(w, id), th_vocabulary_token(v, id));
  ENCODES(w, "quick fox", 6, 5);
  th_vocabulary_free(v);
  th_vocabulary_free(w);
}

#define START "{\"format\":\"tapehead vocabulary\",\"version\":1,\"unit\":"
#define TOKENS(unit, ...) \
  START "\"" unit "\",\"tokens\":[\"<pad>\",\"<bos>\",\"<eos>\",\"<unk>\"" __VA_ARGS__ "]}"

Test(vocabulary, a_file_may_have_its_tokens_in_any_order) {
  th_vocabulary *v;
  put_text("vocab.json", TOKENS("word", ",\"b\",\"c\",\"a\""));
  cr_assert_eq(th_vocabulary_load(&v, "vocab.json", NULL), TH_OK);
  cr_assert_str_eq(th_vocabulary_token(v, 6), "a");
  ENCODES(v, "a b c", 6, 4, 5);
  th_vocabulary_free(v);
}

static void assert_refused(const char *file, const char *text) {
  th_error error;
  th_vocabulary *v;
  put_text("vocab.json", file);
  assert_fails(th_vocabulary_load(&v, "vocab.json", &error), TH_EFORMAT, &error, text);
  cr_assert_null(v);
}

Test(vocabulary, a_file_of_another_kind_is_refused) {
  th_error error;
  th_vocabulary *v;
  assert_refused("[]", "vocab.json: not a vocabulary: \"format\" is not \"tapehead vocabulary\"");
  assert_refused("{\"format\":\"other\"}",
                 "vocab.json: not a vocabulary: \"format\" is not \"tapehead vocabulary\"");
  assert_refused("{\"format\":\"tapehead vocabulary\",\"version\":2}",
                 "vocab.json: \"version\" is not 1, the one that is known");
  assert_refused(START "7}", "vocab.json: \"unit\" is missing or not a string");
  assert_refused(START "\"byte\"}", "vocab.json: unit \"byte\" is none of \"character\", \"word\", \"bpe\"");
  put_text("vocab.json", "{\"format\"");
  cr_assert_eq(th_vocabulary_load(&v, "vocab.json", &error), TH_EFORMAT);
  cr_assert(!strncmp(error.text, "vocab.json: not a vocabulary: JSON at line 1, column ", 53), "%s",
            error.text);
  put_text("vocab.json", TOKENS("word", ",\"a\xFF\""));
  cr_assert_eq(th_vocabulary_load(&v, "vocab.json", &error), TH_EFORMAT);
  cr_assert_not_null(strstr(error.text, "unable to decode byte 0xff"), "%s", error.text);
}

Test(vocabulary, special_tokens_out_of_place_are_refused) {
  assert_refused(START "\"word\"}",
                 "vocab.json: \"tokens\" is not an array that begins with the special tokens");
  assert_refused(START "\"word\",\"tokens\":[\"<pad>\"]}",
                 "vocab.json: \"tokens\" is not an array that begins with the special tokens");
  assert_refused(START "\"word\",\"tokens\":[\"<pad>\",\"<eos>\",\"<bos>\",\"<unk>\"]}",
                 "vocab.json: token 1 is \"<eos>\" and should be \"<bos>\"");
  assert_refused(TOKENS("word", ",\"a\",\"<pad>\""), "vocab.json: token 5 \"<pad>\": given twice");
}

Test(vocabulary, tokens_that_cannot_be_are_refused) {
  assert_refused(TOKENS("word", ",\"a\",\"a\""), "vocab.json: token 5 \"a\": given twice");
  assert_refused(TOKENS("word", ",7"), "vocab.json: token 4 is not a string");
  assert_refused(TOKENS("word", ",\"\""), "vocab.json: token 4 \"\": not one word");
  assert_refused(TOKENS("word", ",\"a b\""), "vocab.json: token 4 \"a b\": not one word");
  assert_refused(TOKENS("word", ",\" a\""), "vocab.json: token 4 \" a\": not one word");
  assert_refused(TOKENS("character", ",\"ab\""), "vocab.json: token 4 \"ab\": not one character");
  assert_refused(TOKENS("character", ",\"\u212B\""), "vocab.json: token 4 \"\u212B\": not in normal form C");
}
