/* `translate train`'s command line, its words apart by zero bytes, and --pruned's list of heads. A word that is the
 * letter R alone becomes the name of a recipe, which is what stands after an empty word. */
#include "fuzz.h"

#include "../../examples/translate/head_list.h"

enum { WORDS = 40 };

/* Words that print help and end the program, or name files outside. */
static bool is_harmless(const char *word) {
  return strcmp(word, "-h") && !strstr(word, "help") && !strstr(word, "usage") && !strchr(word, '?') &&
         !strchr(word, '/');
}

static void read_heads(const char *text) {
  th_transformer_config config = {.encoder_layers = 3, .decoder_layers = 2, .layer = {.heads = 4}};
  char again[PATH_TEXT];
  bool *listed = NULL;
  th_error error = {0};
  if (head_list_parse("--pruned", text, &config, &listed, &error)) CLAIM_SAID(error);
  else if (!head_list_write(listed, &config, again, &error)) {
    bool *same;
    CLAIM(!head_list_parse("--pruned", again, &config, &same, &error));
    CLAIM(!memcmp(listed, same, sizeof(bool) * 4 * (3 + 2 * 2)));
    free(same);
  }
  free(listed);
}

static void parse(int count, const char **words) {
  settings s;
  given g;
  char out[PATH_TEXT];
  th_error error = {0};
  if (settings_parse(count, words, &s, &g, out, &error)) CLAIM_SAID(error);
  else {
    CLAIM(*out && strlen(out) < OUT_TEXT);
    settings_defaults(&s, &g);
    read_heads(s.pruned);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  feed f = {bytes, size};
  char *words[WORDS + 1] = {0};
  const char *given_words[WORDS + 1] = {"translate train"};
  int count = 1;
  bool harmless = true;
  for (char *word; count < WORDS && (word = feed_text(&f)); count++) {
    words[count] = word;
    if (!*word) break;
    harmless = harmless && is_harmless(word);
    read_heads(word);
  }
  fuzz_file recipe = fuzz_file_open(f.at, f.left);
  for (int i = 1; i < count; i++) given_words[i] = strcmp(words[i], "R") ? words[i] : recipe.path;
  if (harmless) parse(count, given_words);
  fuzz_file_close(&recipe);
  for (int i = 1; i <= WORDS; i++) free(words[i]);
  return 0;
}
