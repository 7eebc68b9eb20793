/* config.json: what is taken can make a configuration, or says in one line why it does not. */
#include "fuzz.h"

#include "../../examples/translate/settings.h"

static void make_config(const settings *s) {
  th_transformer_config config;
  th_vocabulary *v;
  th_error error = {0};
  CLAIM(th_vocabulary_new(&v, TH_UNIT_CHARACTER, NULL) == TH_OK);
  CLAIM(th_vocabulary_add(v, "ab", 2, NULL) == TH_OK && th_vocabulary_finish(v, 1, NULL) == TH_OK);
  if (settings_model(s, v, v, &config, &error)) CLAIM_SAID(error);
  else CLAIM(th_transformer_check(&config, &error) == TH_OK);
  th_schedule schedule = settings_schedule(s);
  CLAIM(th_schedule_rate(&schedule, 1) >= 0);
  th_vocabulary_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  fuzz_file file = fuzz_file_open(bytes, size);
  settings s = {0};
  th_error error = {0};
  if (settings_load(&s, file.path, NULL, &error)) CLAIM_SAID(error);
  else make_config(&s);
  fuzz_file_close(&file);
  return 0;
}
